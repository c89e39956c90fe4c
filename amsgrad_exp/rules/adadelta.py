"""Adadelta (Zeiler 2012, arXiv 1212.5701, Algorithm 1, with a step size as in torch.optim)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from amsgrad_exp.arithmetic import sqrt
from amsgrad_exp.rules.claims import NOTHING
from amsgrad_exp.rules.mean import GRADIENT
from amsgrad_exp.rules.rule import Floats, Optimizer, Rule, alongside, hyper, steady_state, uncorrected

if TYPE_CHECKING:
    from amsgrad_exp.rules.settings import OptimizerSettings


def update(g: Any, a: Any, c: Any, h: Any, square_avg: Any, acc_delta: Any) -> Any:
    """v_t = β2·v + (1 − β2)·g², δ = g·√(u + ε)/√(v_t + ε), update α_t·δ, u_t = β2·u + (1 − β2)·δ²."""
    v = h.beta2 * square_avg + h.one_minus_beta2 * g * g
    delta = sqrt(acc_delta + h.eps) / sqrt(v + h.eps) * g
    return a * delta, (v, h.beta2 * acc_delta + h.one_minus_beta2 * delta * delta)


def drift(slopes: Floats, h: Any) -> Floats:
    """D = Σ_j s_j·√(u_{j−1} + ε)/√(v_j + ε), with the only periodic u.

    u_j = (β2 + r_j)·u_{j−1} + r_j·ε, r_j = (1 − β2)·s_j²/(v_j + ε), and Π_j (β2 + r_j) < 1 unless all s_j² are equal:
    r_j ≤ 1 − β2·q_j, q_j = (v_{j−1} + ε)/(v_j + ε), and log(β2 + 1 − β2·q) is a concave function of log q, which
    averages to 0.
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


HYPER = hyper("lr", "beta2", "one_minus_beta2", "eps")
RULE = Rule(update, {"square_avg": 0.0, "acc_delta": 0.0}, uncorrected, (), hyper=HYPER, drift=drift, mean=GRADIENT)


def arguments(settings: OptimizerSettings) -> dict[str, Any]:
    """torch.optim.Adadelta's, other than lr."""
    return {"rho": settings.beta2, "eps": settings.eps}


OPTIMIZER = Optimizer(
    title="Adadelta",
    summary="the gradient over its root mean square, times the root mean square of the updates",
    lines=(
        "v_t = β2·v_{t−1} + (1 − β2)·g_t²",
        "δ_t = g_t·√(u_{t−1} + ε)/√(v_t + ε)",
        "x_{t+1} = x_t − α_t·δ_t, u_t = β2·u_{t−1} + (1 − β2)·δ_t²",
    ),
    remarks=("The paper calls β2 ρ and has no α; torch.optim has α = 1 by default.",),
    source="Zeiler 2012, Algorithm 1",
    claim=NOTHING,
    defaults={"lr": 1.0, "beta2": 0.9, "eps": 1e-6},
    rule=lambda options: RULE,
    torch="torch.optim.Adadelta",
    arguments=arguments,
)
