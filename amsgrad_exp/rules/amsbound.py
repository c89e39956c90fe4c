"""AMSBound (Luo et al. 2019, arXiv 1902.09843, Algorithm 3), as released by its authors."""

from __future__ import annotations

from typing import Any

from amsgrad_exp.arithmetic import maximum, minimum, sqrt
from amsgrad_exp.rules.adabound import HYPER, AdaBoundOptions, bounds, drift
from amsgrad_exp.rules.adam import moments
from amsgrad_exp.rules.amsgrad import MOMENTS
from amsgrad_exp.rules.claims import Claim, Kind, no_momentum
from amsgrad_exp.rules.mean import FIRST_MOMENT
from amsgrad_exp.rules.rule import Optimizer, Rule


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any) -> Any:
    """AdaBound's with v̂_t = max(v̂, v_t) for v_t."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    v_max = maximum(max_exp_avg_sq, v)
    return minimum(maximum(a / (sqrt(v_max) + h.eps), c[0]), c[1]) * m, (m, v, v_max)


RULE = Rule(update, MOMENTS, bounds, (1.0, 1.0, 1.0), hyper=HYPER, settles=False, drift=drift, mean=FIRST_MOMENT)

OPTIMIZER = Optimizer(
    title="AMSBound",
    summary="AdaBound that divides by the root of the largest v so far",
    lines=(
        "v̂_t = max(v̂_{t−1}, v_t)",
        "η_t = clip(α_t·√(1 − β2^t)/(1 − β1^t)/(√v̂_t + ε), l_t, u_t)",
        "x_{t+1} = x_t − η_t·m_t, the rest as AdaBound's",
    ),
    remarks=("What is said of AdaBound holds here. pytorch_optimizer has it as `ams_bound` of AdaBound.",),
    source="Luo et al. 2019, as released",
    claim=Claim(
        Kind.REGRET,
        "Luo et al. 2019",
        "β1 that decays (β1 = 0)",
        no_momentum,
    ),
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    rule=lambda options: RULE,
    options=AdaBoundOptions,
    grows=lambda options: {"final_lr": 1.0},
)
