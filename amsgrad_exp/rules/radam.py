"""RAdam (Liu et al. 2020, arXiv 1908.03265, Algorithm 2; rectified where ρ_t > 5, as in torch.optim)."""

from __future__ import annotations

from typing import Any

import numpy as np

from amsgrad_exp.arithmetic import sqrt
from amsgrad_exp.rules.adam import moments
from amsgrad_exp.rules.claims import NOTHING
from amsgrad_exp.rules.mean import FIRST_MOMENT
from amsgrad_exp.rules.rule import Floats, Hyper, Optimizer, Rule, decayed, steady_state


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any) -> Any:
    """The update α_t·m_t·r_t·√(1 − β2^t)/(√v_t + ε), where c is r_t·√(1 − β2^t), or α_t·m_t if c is 0."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    if c[0] > 0:
        return a * m * c[0] / (sqrt(v) + h.eps), (m, v)
    return a * m, (m, v)


def rectified(t: Any, scale: Any, h: Any, power1: Any, power2: Any) -> Any:
    """α_t/(1 − β1^t), and r_t·√(1 − β2^t), or 0 where the variance of 1/√v_t is not tractable.

    ρ_t = ρ_∞ − 2t·β2^t/(1 − β2^t), ρ_∞ = 2/(1 − β2) − 1, with t counted from 1;
    r_t = √[(ρ_t − 4)(ρ_t − 2)ρ_∞ / ((ρ_∞ − 4)(ρ_∞ − 2)ρ_t)], which tends to 1.
    """
    power1, power2 = decayed(power1, h.beta1), decayed(power2, h.beta2)
    longest = 2.0 / h.one_minus_beta2 - 1.0
    length = longest - 2.0 * (t + 1) * power2 / (1.0 - power2)
    factor = 0.0
    if length > 5.0:
        ratio = (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length)
        factor = sqrt(ratio) * sqrt(1.0 - power2)
    return scale / (1.0 - power1), (factor,), (power1, power2)


def drift(slopes: Floats, h: Hyper) -> Floats:
    """D = Σ_j m_j/(√v_j + ε), as Adam's; Σ_j m_j where β2 is too small for ρ_∞ > 5."""
    m, v = steady_state(slopes, h.beta1), steady_state(slopes**2, h.beta2)
    divided = np.where(2 / h.one_minus_beta2 - 1 > 5, m / (np.sqrt(v) + h.eps), m)
    total: Floats = np.sum(divided, axis=0)
    return total


RULE = Rule(update, {"exp_avg": 0.0, "exp_avg_sq": 0.0}, rectified, (1.0, 1.0), drift=drift, mean=FIRST_MOMENT)

OPTIMIZER = Optimizer(
    title="RAdam",
    summary="SGD with momentum until v rests on enough gradients, then Adam",
    lines=(
        "ρ_t = ρ_∞ − 2t·β2^t/(1 − β2^t), ρ_∞ = 2/(1 − β2) − 1, r_t = √[(ρ_t − 4)(ρ_t − 2)ρ_∞/((ρ_∞ − 4)(ρ_∞ − 2)ρ_t)]",
        "x_{t+1} = x_t − α_t·r_t·√(1 − β2^t)/(1 − β1^t)·m_t/(√v_t + ε) where ρ_t > 5",
        "x_{t+1} = x_t − α_t/(1 − β1^t)·m_t elsewhere",
    ),
    remarks=(
        "torch.optim and this project rectify if ρ_t > 5. optax and pytorch_optimizer rectify if ρ_t ≥ 5. optax adds ε "
        "after the bias correction. Where it does not rectify, pytorch_optimizer 4.1 does not move x, unless "
        "`degenerated_to_sgd=True`.",
        "For β2 ≤ 2/3, ρ_∞ ≤ 5, so that RAdam is always SGD with momentum.",
    ),
    source="Liu et al. 2020, Algorithm 2",
    claim=NOTHING,
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    rule=lambda options: RULE,
    torch="torch.optim.RAdam",
)
