"""Defines RMSprop and Adadelta, which divide the gradient by its root mean square, as in torch.optim."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from amsgrad_exp.arithmetic import maximum, number, sqrt
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.moments import GRADIENT, alongside, gradient, steady_state
from amsgrad_exp.rules.rule import Floats, Mean, Optimizer, Options, Rule, always, hyper


class RMSpropOptions(Options):
    """The momentum μ of the updates, and whether the square of the mean gradient is subtracted from v."""

    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    centered: bool = False


def rmsprop_update(g: Any, a: Any, c: Any, h: Any, square_avg: Any, momentum_buffer: Any) -> Any:
    """The update α_t·b_t with b_t = μ·b + g/(√v_t + ε)."""
    v = h.beta2 * square_avg + h.one_minus_beta2 * g * g
    b = h.momentum * momentum_buffer + g / (sqrt(v) + h.eps)
    return a * b, (v, b)


def centered_update(g: Any, a: Any, c: Any, h: Any, square_avg: Any, grad_avg: Any, momentum_buffer: Any) -> Any:
    """As `rmsprop_update`, with max(v_t − m_t², 0) instead of v_t, where m_t = β2·m + (1 − β2)·g."""
    v = h.beta2 * square_avg + h.one_minus_beta2 * g * g
    m = h.beta2 * grad_avg + h.one_minus_beta2 * g
    b = h.momentum * momentum_buffer + g / (sqrt(maximum(v - m * m, number(0.0, g))) + h.eps)
    return a * b, (v, m, b)


def drift(slopes: Floats, h: Any) -> Any:
    """D = Σ_j s_j/(√v_j + ε)/(1 − μ)."""
    v = steady_state(slopes**2, h.beta2)
    return np.sum(alongside(slopes, v) / (np.sqrt(v) + h.eps), axis=0) / (1 - h.momentum)


def centered_drift(slopes: Floats, h: Any) -> Any:
    """As `drift`, with v_j − m_j² instead of v_j."""
    v = np.maximum(steady_state(slopes**2, h.beta2) - steady_state(slopes, h.beta2) ** 2, 0)
    return np.sum(alongside(slopes, v) / (np.sqrt(v) + h.eps), axis=0) / (1 - h.momentum)


HYPER = hyper("lr", "beta2", "one_minus_beta2", "eps", "momentum")
MEAN = Mean(gradient, only_without="momentum")
PLAIN = Rule(rmsprop_update, hyper=HYPER, drift=drift, mean=MEAN)
CENTERED = Rule(centered_update, hyper=HYPER, drift=centered_drift, mean=MEAN)


RMSPROP = Optimizer(
    title="RMSprop",
    summary="the gradient over the root of its average square: Adam with β1 = 0",
    lines=(
        "v_t = β2·v_{t−1} + (1 − β2)·g_t²",
        "b_t = μ·b_{t−1} + g_t/(√v_t + ε)",
        "x_{t+1} = x_t − α_t·b_t",
    ),
    remarks=(
        "torch.optim calls β2 alpha. optax has ε inside the root by default.",
        "With momentum, optax multiplies by the step size before the momentum and not after it, which matters if the "
        "step size changes.",
        "`centered` subtracts the square of the mean gradient from v_t.",
    ),
    source="Tieleman and Hinton 2012, as in torch.optim",  # Lecture 6.5; centered as in Graves 2013, arXiv 1308.0850
    defaults={"lr": 1e-2, "beta2": 0.99, "eps": 1e-8},
    rule=lambda options: CENTERED if options.centered else PLAIN,
    options=RMSpropOptions,
    torch="torch.optim.RMSprop",
    arguments=lambda settings: {"alpha": settings.beta2, "eps": settings.eps, **settings.options},
)


def adadelta_update(g: Any, a: Any, c: Any, h: Any, square_avg: Any, acc_delta: Any) -> Any:
    """The update α_t·δ_t; the state is (v, u)."""
    v = h.beta2 * square_avg + h.one_minus_beta2 * g * g
    delta = sqrt(acc_delta + h.eps) / sqrt(v + h.eps) * g
    return a * delta, (v, h.beta2 * acc_delta + h.one_minus_beta2 * delta * delta)


def adadelta_drift(slopes: Floats, h: Any) -> Any:
    """D = Σ_j s_j·√(u_{j−1} + ε)/√(v_j + ε), where u is the only periodic solution.

    u_j = (β2 + r_j)·u_{j−1} + r_j·ε with r_j = (1 − β2)·s_j²/(v_j + ε). There is only one, because Π_j (β2 + r_j) < 1
    unless all s_j² are equal: r_j ≤ 1 − β2·q_j with q_j = (v_{j−1} + ε)/(v_j + ε), and log(β2 + 1 − β2·q) is a concave
    function of log q, which averages to 0.
    """
    v = steady_state(slopes**2, h.beta2)
    ratio = h.one_minus_beta2 * alongside(slopes, v) ** 2 / (v + h.eps)
    product, rest = np.ones(v.shape[1:]), np.zeros(v.shape[1:])
    for factor in ratio:
        product, rest = product * (h.beta2 + factor), rest * (h.beta2 + factor) + factor * h.eps
    u, total = rest / (1 - product), np.zeros(v.shape[1:])
    for slope, factor, of_period in zip(slopes, ratio, v, strict=True):
        total += slope * np.sqrt(u + h.eps) / np.sqrt(of_period + h.eps)
        u = (h.beta2 + factor) * u + factor * h.eps
    return total


ADADELTA = Optimizer(
    title="Adadelta",
    summary="the gradient over its root mean square, times the root mean square of the updates",
    lines=(
        "v_t = β2·v_{t−1} + (1 − β2)·g_t²",
        "δ_t = g_t·√(u_{t−1} + ε)/√(v_t + ε)",
        "x_{t+1} = x_t − α_t·δ_t, u_t = β2·u_{t−1} + (1 − β2)·δ_t²",
    ),
    remarks=("The paper calls β2 ρ and has no α; torch.optim has α = 1 by default.",),
    source="Zeiler 2012, Algorithm 1",  # arXiv 1212.5701, with a step size as in torch.optim
    defaults={"lr": 1.0, "beta2": 0.9, "eps": 1e-6},
    rule=always(
        adadelta_update, hyper=hyper("lr", "beta2", "one_minus_beta2", "eps"), drift=adadelta_drift, mean=GRADIENT
    ),
    torch="torch.optim.Adadelta",
    arguments=lambda settings: {"rho": settings.beta2, "eps": settings.eps},
)
