"""Lion (Chen et al. 2023, arXiv 2302.06675, Algorithm 2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from amsgrad_exp.arithmetic import sign
from amsgrad_exp.rules.claims import NOTHING
from amsgrad_exp.rules.mean import GRADIENT_WITHOUT_BETA1
from amsgrad_exp.rules.rule import Floats, Optimizer, Rule, alongside, hyper, steady_state, uncorrected


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any) -> Any:
    """The update α_t·sign(β1·m + (1 − β1)·g), and then m_t = β2·m + (1 − β2)·g."""
    ahead = h.beta1 * exp_avg + h.one_minus_beta1 * g
    return a * sign(ahead), (h.beta2 * exp_avg + h.one_minus_beta2 * g,)


def drift(slopes: Floats, h: Any) -> Floats:
    """D = Σ_j sign(β1·m_{j−1} + (1 − β1)·s_j)."""
    before = np.roll(steady_state(slopes, h.beta2), 1, axis=0)
    total: Floats = np.sum(np.sign(h.beta1 * before + h.one_minus_beta1 * alongside(slopes, before)), axis=0)
    return total


HYPER = hyper("lr", "beta1", "one_minus_beta1", "beta2", "one_minus_beta2")
RULE = Rule(update, {"exp_avg": 0.0}, uncorrected, (), hyper=HYPER, drift=drift, mean=GRADIENT_WITHOUT_BETA1)

OPTIMIZER = Optimizer(
    title="Lion",
    summary="the sign of an average that gives the newest gradient extra weight",
    lines=(
        "x_{t+1} = x_t − α_t·sign(β1·m_{t−1} + (1 − β1)·g_t)",
        "m_t = β2·m_{t−1} + (1 − β2)·g_t",
    ),
    remarks=(
        "The paper's algorithm also has decoupled weight decay. There is none here; optax's default for it is 10⁻³.",
    ),
    source="Chen et al. 2023, Algorithm 2",
    claim=NOTHING,
    defaults={"lr": 1e-4, "beta1": 0.9, "beta2": 0.99},
    rule=lambda options: RULE,
)
