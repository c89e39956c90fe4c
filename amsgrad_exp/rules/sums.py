"""Defines optimizers that divide by the squares of all gradients so far.

They are Adagrad, AdamNC and NosAdam, which sum or average them, and RMSprop and Adadelta, whose average moves.
"""

from __future__ import annotations

import functools
from typing import Annotated

import numpy as np
from pydantic import Field

from amsgrad_exp.arithmetic import maximum, number, power, sqrt
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.claims import Claim, Kind, no_momentum
from amsgrad_exp.rules.moments import (
    DECAYING_FIRST_MOMENT,
    DECAYS,
    FIRST_MOMENT,
    GRADIENT,
    DecayOptions,
    decayed,
    gradient,
    steady_state,
)
from amsgrad_exp.rules.rule import Mean, Optimizer, Options, Rule, always, hyper


def adagrad_update(g, a, c, h, squares):
    """The update α_t·g/(√S_t + ε) with S_t = S + g²."""
    s = squares + g * g
    return a * g / (sqrt(s) + h.eps), (s,)


ADAGRAD = Optimizer(
    title="Adagrad",
    summary="the gradient over the root of the sum of all its squares so far",
    lines=(
        "S_t = Σ_{k≤t} g_k²",
        "x_{t+1} = x_t − α_t·g_t/(√S_t + ε)",
    ),
    remarks=("optax starts S at 0.1 and has ε = 10⁻⁷ inside the root.",),
    source="Duchi, Hazan and Singer 2011",  # JMLR 12, diagonal form
    claim=Claim(
        Kind.REGRET,
        "Duchi, Hazan and Singer 2011, Theorem 5",
        "constant α, since its step sizes fall like 1/√t by themselves",
        schedule="constant",
    ),
    defaults={"lr": 1e-2, "eps": 1e-10},
    # There is no drift: S grows without bound, and D tends to 0 with the sign of the mean slope.
    rule=always(adagrad_update, state={"sum": 0.0}, hyper=hyper("lr", "eps"), mean=GRADIENT),
    torch="torch.optim.Adagrad",
)


def adamnc_update(g, a, c, h, exp_avg, exp_avg_sq):
    """The update α_t·m_t/(√v_t + ε) with v_t = v + (g² − v)/t; c is (β1t, 1 − β1t, 1/t)."""
    m = c[0] * exp_avg + c[1] * g
    v = exp_avg_sq + c[2] * (g * g - exp_avg_sq)
    return a * m / (sqrt(v) + h.eps), (m, v)


def drift(slopes, h):
    """D = Σ_j s_j/(√v + ε) for large t, where v is the mean of all s². It has the sign of Σ_j s_j."""
    return np.sum(slopes) / (np.sqrt(np.mean(slopes**2)) + np.asarray(h.eps))


ADAMNC_HYPER = hyper("lr", "beta1", "eps", "lam")


@functools.cache
def adamnc(kind: str) -> Rule:
    """Make AdamNC's rule with one kind of decay of β1."""
    decay, start = DECAYS[kind]

    def coefficients(t, scale, h, power=start, unsettled=1.0):
        beta1, power = decay(t, h, power)
        return scale, (beta1, 1.0 - beta1, 1.0 / (t + 1)), (power, unsettled)

    return Rule(
        adamnc_update,
        coefficients,
        hyper=ADAMNC_HYPER,
        settles=False,
        drift=drift,
        mean=DECAYING_FIRST_MOMENT,
    )


ADAMNC = Optimizer(
    title="AdamNC",
    summary="Adam with β2t = 1 − 1/t: v is the mean of all squared gradients so far",
    lines=(
        "m_t = β1t·m_{t−1} + (1 − β1t)·g_t",
        "v_t = (1/t)·Σ_{k≤t} g_k²",
        "x_{t+1} = x_t − α_t·m_t/(√v_t + ε)",
    ),
    remarks=("torch.optim, optax and pytorch_optimizer lack it. With α_t = α/√t it is Adagrad with momentum.",),
    source="Reddi, Kale and Kumar 2018, Algorithm 3",  # arXiv 1904.09237, with β2t as in its Corollary 2
    claim=Claim(
        Kind.REGRET,
        "Reddi, Kale and Kumar 2018, Theorem 5 and Corollary 2; with constant β1 Alacaoglu et al. 2020",
        "β2t = 1 − 1/t",
    ),
    defaults={"lr": 1e-3, "beta1": 0.9, "eps": 1e-8},
    rule=lambda options: adamnc(options.beta1_decay),
    options=DecayOptions,
)


class NosAdamOptions(Options):
    """`gamma` is γ: a larger γ gives older gradients more weight; with γ = 0, all have the same weight."""

    gamma: Annotated[Number, Field(ge=0)] = 0.1


def nosadam_update(g, a, c, h, exp_avg, exp_avg_sq):
    """The update α_t·m̂_t/(√v_t + ε) with v_t = v + (g² − v)·c; c is b_t/B_t = 1 − β2t."""
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    v = exp_avg_sq + c[0] * (g * g - exp_avg_sq)
    return a * m / (sqrt(v) + h.eps), (m, v)


def nostalgia(t, scale, h, power1=1.0, total=0.0):
    """Return α_t/(1 − β1^t), and b_t/B_t with B_t = Σ_{k≤t} b_k, which is carried and never settles."""
    power1 = decayed(power1, h.beta1)
    weight = 1.0 / power(1.0 * (t + 1), h.gamma)
    total = total + weight
    return scale / (1.0 - power1), (weight / total,), (power1, total)


NOSADAM = Optimizer(
    title="NosAdam",
    summary="Adam whose v is a mean of all squared gradients that gives older ones more weight",
    lines=(
        "b_k = k^−γ, B_t = Σ_{k≤t} b_k",
        "v_t = Σ_{k≤t} b_k·g_k²/B_t, m_t as Adam's",
        "x_{t+1} = x_t − α_t/(1 − β1^t)·m_t/(√v_t + ε)",
    ),
    remarks=(
        "The released PyTorch code has γ = 0 by default, which is AdamNC with a corrected m. The default here, "
        "γ = 0.1, is that of the authors' MATLAB code.",
    ),
    source="Huang, Wang and Dong 2019, Algorithm 1",  # arXiv 1805.07557; m bias-corrected as released
    claim=Claim(
        Kind.REGRET,
        "Huang, Wang and Dong 2019, Theorem 1",
        "a decaying β1 (in the gauntlet: β1 = 0), b_k = k^−γ with γ ≥ 0",
        no_momentum,
    ),
    defaults={"lr": 1e-3, "beta1": 0.9, "eps": 1e-8},
    rule=always(
        nosadam_update,
        nostalgia,
        hyper=hyper("lr", "beta1", "one_minus_beta1", "eps", "gamma"),
        settles=False,
        drift=drift,
        mean=FIRST_MOMENT,
    ),
    options=NosAdamOptions,
)


class RMSpropOptions(Options):
    """`momentum` is μ; `centered` says whether the square of the mean gradient is subtracted from v."""

    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    centered: bool = False


def rmsprop_update(g, a, c, h, square_avg, momentum_buffer):
    """The update α_t·b_t with b_t = μ·b + g/(√v_t + ε)."""
    v = h.beta2 * square_avg + h.one_minus_beta2 * g * g
    b = h.momentum * momentum_buffer + g / (sqrt(v) + h.eps)
    return a * b, (v, b)


def centered_update(g, a, c, h, square_avg, grad_avg, momentum_buffer):
    """As `rmsprop_update`, with max(v_t − m_t², 0) instead of v_t, where m_t = β2·m + (1 − β2)·g."""
    v = h.beta2 * square_avg + h.one_minus_beta2 * g * g
    m = h.beta2 * grad_avg + h.one_minus_beta2 * g
    b = h.momentum * momentum_buffer + g / (sqrt(maximum(v - m * m, number(0.0, g))) + h.eps)
    return a * b, (v, m, b)


def rmsprop_drift(slopes, h):
    """D = Σ_j s_j/(√v_j + ε)/(1 − μ)."""
    v = steady_state(slopes**2, h.beta2)
    return np.sum(slopes / (np.sqrt(v) + h.eps), axis=0) / (1 - h.momentum)


def centered_drift(slopes, h):
    """As `rmsprop_drift`, with v_j − m_j² instead of v_j."""
    v = np.maximum(steady_state(slopes**2, h.beta2) - steady_state(slopes, h.beta2) ** 2, 0)
    return np.sum(slopes / (np.sqrt(v) + h.eps), axis=0) / (1 - h.momentum)


RMSPROP_HYPER = hyper("lr", "beta2", "one_minus_beta2", "eps", "momentum")
UNLESS_MOMENTUM = Mean(gradient, only_without="momentum")
PLAIN = Rule(rmsprop_update, hyper=RMSPROP_HYPER, drift=rmsprop_drift, mean=UNLESS_MOMENTUM)
CENTERED = Rule(centered_update, hyper=RMSPROP_HYPER, drift=centered_drift, mean=UNLESS_MOMENTUM)

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


def adadelta_update(g, a, c, h, square_avg, acc_delta):
    """The update α_t·δ_t; the state is (v, u)."""
    v = h.beta2 * square_avg + h.one_minus_beta2 * g * g
    delta = sqrt(acc_delta + h.eps) / sqrt(v + h.eps) * g
    return a * delta, (v, h.beta2 * acc_delta + h.one_minus_beta2 * delta * delta)


def adadelta_drift(slopes, h):
    """D = Σ_j s_j·√(u_{j−1} + ε)/√(v_j + ε), where u is the only periodic solution.

    u_j = (β2 + r_j)·u_{j−1} + r_j·ε with r_j = (1 − β2)·s_j²/(v_j + ε). There is only one, because Π_j (β2 + r_j) < 1
    unless all s_j² are equal: r_j ≤ 1 − β2·q_j with q_j = (v_{j−1} + ε)/(v_j + ε), and log(β2 + 1 − β2·q) is a concave
    function of log q, which averages to 0.
    """
    v = steady_state(slopes**2, h.beta2)
    ratio = h.one_minus_beta2 * slopes**2 / (v + h.eps)
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
