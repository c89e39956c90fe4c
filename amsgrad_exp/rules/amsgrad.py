"""AMSGrad (Reddi, Kale and Kumar 2018, arXiv 1904.09237, Algorithm 2), with Adam's bias corrections as in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np

from amsgrad_exp.arithmetic import maximum, sqrt
from amsgrad_exp.rules.adam import AdamOptions, moments, textbook_correction
from amsgrad_exp.rules.base import Floats, Hyper, Optimizer, Rule, bias_corrected, steady_state


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any) -> Any:
    """Move by α_t·m_t/(√v̂_t + ε) with v̂_t = max(v̂, v_t)."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    v_max = maximum(max_exp_avg_sq, v)
    return a * m / (sqrt(v_max) + h.eps), (m, v, v_max)


def textbook_update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any) -> Any:
    """As `update`, but ε is added to the root of the corrected v̂; c is √(1 − β2^t)."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    v_max = maximum(max_exp_avg_sq, v)
    return a * m / (sqrt(v_max) / c[0] + h.eps), (m, v, v_max)


def drift(slopes: Floats, h: Hyper) -> Floats:
    """D = Σ_j m_j/(√v̂ + ε) with v̂ = max_j v_j: of the sign of Σ_j s_j."""
    m = steady_state(slopes, h.beta1)
    v = steady_state(slopes**2, h.beta2).max(axis=0)
    total: Floats = np.sum(m / (np.sqrt(v) + h.eps), axis=0)
    return total


MOMENTS = {"exp_avg": 0.0, "exp_avg_sq": 0.0, "max_exp_avg_sq": 0.0}
FOLDED = Rule(update, MOMENTS, bias_corrected, (1.0, 1.0), drift=drift)
TEXTBOOK = Rule(textbook_update, MOMENTS, textbook_correction, (1.0, 1.0), drift=drift)

OPTIMIZER = Optimizer(
    title="AMSGrad",
    source="Reddi, Kale and Kumar 2018, Algorithm 2",
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    rule=lambda options: FOLDED if options.optimized_update else TEXTBOOK,
    options=AdamOptions,
    torch="amsgrad_exp.optimizers.AMSGrad",
)
