"""AdaBelief (Zhuang et al. 2020, arXiv 2010.07468, Algorithm 2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from amsgrad_exp.arithmetic import sqrt
from amsgrad_exp.rules.adam import textbook_correction
from amsgrad_exp.rules.claims import Claim, Kind, one_sample
from amsgrad_exp.rules.mean import FIRST_MOMENT
from amsgrad_exp.rules.rule import Floats, Hyper, Optimizer, Rule, alongside, steady_state


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_var: Any) -> Any:
    """s_t = β2·s + (1 − β2)·(g − m_t)² + ε, and the update α_t·m̂_t/(√ŝ_t + ε); c is √(1 − β2^t)."""
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    s = h.beta2 * exp_avg_var + h.one_minus_beta2 * (g - m) * (g - m) + h.eps
    return a * m / (sqrt(s) / c[0] + h.eps), (m, s)


def drift(slopes: Floats, h: Hyper) -> Floats:
    """D = Σ_j m_j/(√s_j + ε). The ε that each step adds to s adds up to ε/(1 − β2)."""
    m = steady_state(slopes, h.beta1)
    s = steady_state((alongside(slopes, m) - m) ** 2, h.beta2) + h.eps / h.one_minus_beta2
    total: Floats = np.sum(m / (np.sqrt(s) + h.eps), axis=0)
    return total


RULE = Rule(
    update, {"exp_avg": 0.0, "exp_avg_var": 0.0}, textbook_correction, (1.0, 1.0), drift=drift, mean=FIRST_MOMENT
)

OPTIMIZER = Optimizer(
    title="AdaBelief",
    summary="Adam that divides by the root of the gradient's variance around m",
    lines=(
        "m_t as Adam's",
        "s_t = β2·s_{t−1} + (1 − β2)·(g_t − m_t)² + ε",
        "x_{t+1} = x_t − α_t·m_t/(1 − β1^t)/(√(s_t/(1 − β2^t)) + ε)",
    ),
    remarks=(
        "The authors' package rectifies as RAdam does unless told not to. optax and pytorch_optimizer 4.1 do not.",
        "ε is added to s at every step and adds up to ε/(1 − β2). With β1 = 0, g_t = m_t, so that this sum is all of "
        "s: the rule is then SGD with step size α/(√(ε/(1 − β2)) + ε).",
    ),
    source="Zhuang et al. 2020, Algorithm 2",
    claim=Claim(
        Kind.REGRET,
        "Zhuang et al. 2020",
        "second moments that never decrease, which no setting ensures",
        one_sample,
    ),
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-16},
    rule=lambda options: RULE,
)
