"""Yogi (Zaheer et al. 2018, *Adaptive Methods for Nonconvex Optimization*, Algorithm 2), bias-corrected as released."""

from __future__ import annotations

from typing import Any

from amsgrad_exp.arithmetic import sign, sqrt
from amsgrad_exp.rules.adam import textbook_correction
from amsgrad_exp.rules.claims import Claim, Kind, one_sample
from amsgrad_exp.rules.mean import FIRST_MOMENT
from amsgrad_exp.rules.rule import Optimizer, Rule


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any) -> Any:
    """v_t = v − (1 − β2)·sign(v − g²)·g², and the update α_t·m̂_t/(√v̂_t + ε); c is √(1 − β2^t)."""
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    v = exp_avg_sq - h.one_minus_beta2 * sign(exp_avg_sq - g * g) * g * g
    return a * m / (sqrt(v) / c[0] + h.eps), (m, v)


# No drift: v always changes by (1 − β2)·g², so its cycle depends on where it started.
RULE = Rule(update, {"exp_avg": 1e-6, "exp_avg_sq": 1e-6}, textbook_correction, (1.0, 1.0), mean=FIRST_MOMENT)

OPTIMIZER = Optimizer(
    title="Yogi",
    summary="Adam whose v changes by at most (1 − β2)·g² per step",
    lines=(
        "m_t as Adam's",
        "v_t = v_{t−1} − (1 − β2)·sign(v_{t−1} − g_t²)·g_t²",
        "x_{t+1} = x_t − α_t·m_t/(1 − β1^t)/(√(v_t/(1 − β2^t)) + ε)",
    ),
    remarks=("m and v start from 10⁻⁶, as in optax and pytorch_optimizer.",),
    source="Zaheer et al. 2018, Algorithm 2",
    claim=Claim(
        Kind.STATIONARY,
        "Zaheer et al. 2018",
        "1 − β2 ≤ ε²/(16G²), and batches that grow",
        one_sample,
    ),
    defaults={"lr": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-3},
    rule=lambda options: RULE,
)
