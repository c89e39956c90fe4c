"""Adam (Kingma and Ba 2015, arXiv 1412.6980, Algorithm 1).

There are two dialects. torch's corrects the bias of both moments. Papers about Adam's convergence, since Reddi, Kale
and Kumar 2018, use no bias correction.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from amsgrad_exp.arithmetic import scalar, sqrt
from amsgrad_exp.rules.claims import Claim, Kind, kingmas
from amsgrad_exp.rules.mean import FIRST_MOMENT
from amsgrad_exp.rules.rule import (
    Floats,
    Hyper,
    Optimizer,
    Options,
    Rule,
    bias_corrected,
    decayed,
    steady_state,
    uncorrected,
)


class AdamOptions(Options):
    """Dialect "paper" has no bias correction. In dialect "torch", `optimized_update` folds the corrections into the
    step size, so that ε is added to the uncorrected root of v.
    """

    dialect: Literal["torch", "paper"] = "torch"
    optimized_update: bool = True


@scalar
def moments(g: Any, h: Any, exp_avg: Any, exp_avg_sq: Any) -> Any:
    """m_t = β1·m + (1 − β1)·g and v_t = β2·v + (1 − β2)·g²."""
    return h.beta1 * exp_avg + h.one_minus_beta1 * g, h.beta2 * exp_avg_sq + h.one_minus_beta2 * g * g


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any) -> Any:
    """The update α_t·m_t/(√v_t + ε)."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    return a * m / (sqrt(v) + h.eps), (m, v)


def textbook_update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any) -> Any:
    """As `update`, but ε is added to the root of the corrected v; c is √(1 − β2^t)."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    return a * m / (sqrt(v) / c[0] + h.eps), (m, v)


def textbook_correction(t: Any, scale: Any, h: Any, power1: Any, power2: Any) -> Any:
    """α_t/(1 − β1^t), and √(1 − β2^t) to divide √v by."""
    power1, power2 = decayed(power1, h.beta1), decayed(power2, h.beta2)
    return scale / (1.0 - power1), (sqrt(1.0 - power2),), (power1, power2)


def drift(slopes: Floats, h: Hyper) -> Floats:
    """D = Σ_j m_j/(√v_j + ε), from the steady states of m and v."""
    m = steady_state(slopes, h.beta1)
    v = steady_state(slopes**2, h.beta2)
    total: Floats = np.sum(m / (np.sqrt(v) + h.eps), axis=0)
    return total


MOMENTS = {"exp_avg": 0.0, "exp_avg_sq": 0.0}
FOLDED = Rule(update, MOMENTS, bias_corrected, (1.0, 1.0), drift=drift, mean=FIRST_MOMENT)
TEXTBOOK = Rule(textbook_update, MOMENTS, textbook_correction, (1.0, 1.0), drift=drift, mean=FIRST_MOMENT)
PAPER = Rule(update, MOMENTS, uncorrected, (), drift=drift, mean=FIRST_MOMENT)


def rule(options: AdamOptions) -> Rule:
    """The rule of a dialect."""
    if options.dialect == "paper":
        return PAPER
    return FOLDED if options.optimized_update else TEXTBOOK


OPTIMIZER = Optimizer(
    title="Adam",
    summary="the average gradient over the root of its average square, both moving averages",
    lines=(
        "m_t = β1·m_{t−1} + (1 − β1)·g_t",
        "v_t = β2·v_{t−1} + (1 − β2)·g_t²",
        "x_{t+1} = x_t − α_t·√(1 − β2^t)/(1 − β1^t)·m_t/(√v_t + ε)",
    ),
    remarks=(
        "The paper's Algorithm 1, torch.optim and optax add ε after the bias correction, √(v_t/(1 − β2^t)) + ε: "
        "`optimized_update: false`.",
        "Papers on Adam's convergence, since Reddi et al. 2018, use no bias correction: `dialect: paper`. If they have "
        "an ε, it is inside the root, √(v_t + ε); here it is added to the root.",
    ),
    source="Kingma and Ba 2015, Algorithm 1",
    claim=Claim(
        Kind.REGRET,
        "Kingma and Ba 2015, Theorem 4.1",
        "β1²/√β2 < 1 and β1 that decays (β1 = 0)",
        kingmas,
        refuted="Reddi, Kale and Kumar 2018, Theorems 1 to 3",
    ),
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    rule=rule,
    options=AdamOptions,
    torch="amsgrad_exp.optimizers.Adam",
)
