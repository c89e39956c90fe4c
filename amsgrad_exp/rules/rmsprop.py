"""RMSprop (Tieleman and Hinton 2012, Lecture 6.5; centered as in Graves 2013, arXiv 1308.0850; as in torch.optim)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from amsgrad_exp.arithmetic import maximum, number, sqrt
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.claims import NOTHING
from amsgrad_exp.rules.mean import GRADIENT_WITHOUT_MOMENTUM
from amsgrad_exp.rules.rule import Floats, Optimizer, Options, Rule, alongside, hyper, steady_state, uncorrected

if TYPE_CHECKING:
    from amsgrad_exp.rules.settings import OptimizerSettings


class RMSpropOptions(Options):
    """The momentum μ of the updates, and whether the square of the mean gradient is subtracted from v."""

    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    centered: bool = False


def update(g: Any, a: Any, c: Any, h: Any, square_avg: Any, momentum_buffer: Any) -> Any:
    """v_t = β2·v + (1 − β2)·g², b_t = μ·b + g/(√v_t + ε), and the update α_t·b_t."""
    v = h.beta2 * square_avg + h.one_minus_beta2 * g * g
    b = h.momentum * momentum_buffer + g / (sqrt(v) + h.eps)
    return a * b, (v, b)


def centered_update(g: Any, a: Any, c: Any, h: Any, square_avg: Any, grad_avg: Any, momentum_buffer: Any) -> Any:
    """As `update`, with max(v_t − m_t², 0) in place of v_t, where m_t = β2·m + (1 − β2)·g."""
    v = h.beta2 * square_avg + h.one_minus_beta2 * g * g
    m = h.beta2 * grad_avg + h.one_minus_beta2 * g
    b = h.momentum * momentum_buffer + g / (sqrt(maximum(v - m * m, number(0.0, g))) + h.eps)
    return a * b, (v, m, b)


def drift(slopes: Floats, h: Any) -> Floats:
    """D = Σ_j s_j/(√v_j + ε)/(1 − μ)."""
    v = steady_state(slopes**2, h.beta2)
    total: Floats = np.sum(alongside(slopes, v) / (np.sqrt(v) + h.eps), axis=0) / (1 - h.momentum)
    return total


def centered_drift(slopes: Floats, h: Any) -> Floats:
    """As `drift`, with v_j − m_j² for v_j."""
    v = np.maximum(steady_state(slopes**2, h.beta2) - steady_state(slopes, h.beta2) ** 2, 0)
    total: Floats = np.sum(alongside(slopes, v) / (np.sqrt(v) + h.eps), axis=0) / (1 - h.momentum)
    return total


HYPER = hyper("lr", "beta2", "one_minus_beta2", "eps", "momentum")
PLAIN = Rule(
    update,
    {"square_avg": 0.0, "momentum_buffer": 0.0},
    uncorrected,
    (),
    hyper=HYPER,
    drift=drift,
    mean=GRADIENT_WITHOUT_MOMENTUM,
)
CENTERED = Rule(
    centered_update,
    {"square_avg": 0.0, "grad_avg": 0.0, "momentum_buffer": 0.0},
    uncorrected,
    (),
    hyper=HYPER,
    drift=centered_drift,
    mean=GRADIENT_WITHOUT_MOMENTUM,
)


def arguments(settings: OptimizerSettings) -> dict[str, Any]:
    """torch.optim.RMSprop's, other than lr."""
    return {"alpha": settings.beta2, "eps": settings.eps, **settings.options}


OPTIMIZER = Optimizer(
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
    source="Tieleman and Hinton 2012, as in torch.optim",
    claim=NOTHING,
    defaults={"lr": 1e-2, "beta2": 0.99, "eps": 1e-8},
    rule=lambda options: CENTERED if options.centered else PLAIN,
    options=RMSpropOptions,
    torch="torch.optim.RMSprop",
    arguments=arguments,
)
