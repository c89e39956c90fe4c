"""Adamax (Kingma and Ba 2015, arXiv 1412.6980, Algorithm 2, with ε as in torch.optim)."""

from __future__ import annotations

from typing import Any

import numpy as np

from amsgrad_exp.arithmetic import maximum
from amsgrad_exp.rules.claims import NOTHING
from amsgrad_exp.rules.mean import FIRST_MOMENT
from amsgrad_exp.rules.rule import Floats, Optimizer, Rule, decayed, hyper, steady_state


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_inf: Any) -> Any:
    """The update α_t·m_t/u_t with u_t = max(β2·u, |g| + ε)."""
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    u = maximum(h.beta2 * exp_inf, abs(g) + h.eps)
    return a * m / u, (m, u)


def correction(t: Any, scale: Any, h: Any, power1: Any) -> Any:
    """α_t/(1 − β1^t)."""
    power1 = decayed(power1, h.beta1)
    return scale / (1.0 - power1), (), (power1,)


def drift(slopes: Floats, h: Any) -> Floats:
    """D = Σ_j m_j/u_j. Starting from u = 0, u is periodic from the second period on."""
    m = steady_state(slopes, h.beta1)
    u, terms = np.zeros(m.shape[1:]), []
    for number in np.tile(slopes, 2):
        u = np.maximum(h.beta2 * u, abs(number) + h.eps)
        terms.append(u)
    total: Floats = np.sum(m / np.array(terms[len(slopes) :]), axis=0)
    return total


HYPER = hyper("lr", "beta1", "one_minus_beta1", "beta2", "eps")
RULE = Rule(update, {"exp_avg": 0.0, "exp_inf": 0.0}, correction, (1.0,), hyper=HYPER, drift=drift, mean=FIRST_MOMENT)

OPTIMIZER = Optimizer(
    title="Adamax",
    summary="Adam that divides by a decaying maximum of the gradient's size",
    lines=(
        "m_t = β1·m_{t−1} + (1 − β1)·g_t",
        "u_t = max(β2·u_{t−1}, |g_t| + ε)",
        "x_{t+1} = x_t − α_t/(1 − β1^t)·m_t/u_t",
    ),
    remarks=("The paper has no ε. torch.optim and optax add it to |g_t|.",),
    source="Kingma and Ba 2015, Algorithm 2",
    claim=NOTHING,
    defaults={"lr": 2e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    rule=lambda options: RULE,
    torch="torch.optim.Adamax",
)
