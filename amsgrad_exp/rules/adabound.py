"""AdaBound (Luo et al. 2019, arXiv 1902.09843, Algorithm 2), as released by its authors."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from amsgrad_exp.arithmetic import maximum, minimum, sqrt
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.adam import MOMENTS, moments
from amsgrad_exp.rules.claims import Claim, Kind, no_momentum
from amsgrad_exp.rules.mean import FIRST_MOMENT
from amsgrad_exp.rules.rule import Floats, Hyper, Optimizer, Options, Rule, bias_corrected, hyper


class AdaBoundOptions(Options):
    """The step size that both bounds converge to, and how fast they do."""

    final_lr: Annotated[Number, Field(gt=0)] = 0.1
    gamma: Annotated[Number, Field(gt=0)] = 1e-3


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any) -> Any:
    """The update clip(α_t/(√v_t + ε), l_t, u_t)·m_t. α_t has both of Adam's corrections; c is (l_t, u_t)."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    return minimum(maximum(a / (sqrt(v) + h.eps), c[0]), c[1]) * m, (m, v)


def bounds(t: Any, scale: Any, h: Any, power1: Any, power2: Any, unsettled: Any) -> Any:
    """l_t = F·(1 − 1/(γt + 1)) and u_t = F·(1 + 1/(γt)), t counted from 1, with F = final_lr·α_t/α.

    They never become constant.
    """
    final, length = h.final_lr * scale, h.gamma * (t + 1)
    scale, _, (power1, power2) = bias_corrected(t, scale, h, power1, power2)
    return scale, (final * (1.0 - 1.0 / (length + 1.0)), final * (1.0 + 1.0 / length)), (power1, power2, unsettled)


def drift(slopes: Floats, h: Any) -> Floats:
    """D = Σ_j s_j·F/α for large t. It has the sign of Σ_j s_j."""
    total: Floats = np.sum(slopes) * np.asarray(h.final_lr) / h.lr
    return total


HYPER = hyper(*Hyper._fields, "final_lr", "gamma")
RULE = Rule(update, MOMENTS, bounds, (1.0, 1.0, 1.0), hyper=HYPER, settles=False, drift=drift, mean=FIRST_MOMENT)

OPTIMIZER = Optimizer(
    title="AdaBound",
    summary="Adam whose step sizes are clipped to bounds that converge to SGD's",
    lines=(
        "m_t and v_t as Adam's, F_t = final_lr·α_t/α, l_t = F_t·(1 − 1/(γt + 1)), u_t = F_t·(1 + 1/(γt))",
        "η_t = clip(α_t·√(1 − β2^t)/(1 − β1^t)/(√v_t + ε), l_t, u_t)",
        "x_{t+1} = x_t − η_t·m_t",
    ),
    remarks=(
        "The paper uses no bias correction, clips α/√v_t and divides the result by √t. The released code and this "
        "project do not divide by √t.",
    ),
    source="Luo et al. 2019, as released",
    claim=Claim(
        Kind.REGRET,
        "Luo et al. 2019, Theorem 4",
        "β1 that decays (β1 = 0)",
        no_momentum,
        refuted="Savarese 2019 (arXiv 1908.04457), Corollary 1, who corrects it",
    ),
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    rule=lambda options: RULE,
    options=AdaBoundOptions,
    grows=lambda options: {"final_lr": 1.0},
)
