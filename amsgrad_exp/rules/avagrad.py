"""AvaGrad (Savarese et al. 2021, arXiv 1912.01823), as released by its authors or as published; elementwise.

Its step is scaled by a norm over all parameters, which makes the published form SGD with momentum in one dimension.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from amsgrad_exp.arithmetic import sqrt
from amsgrad_exp.rules.adam import moments
from amsgrad_exp.rules.claims import Claim, Kind
from amsgrad_exp.rules.mean import FIRST_MOMENT
from amsgrad_exp.rules.rule import Floats, Hyper, Optimizer, Options, Rule, decayed, hyper, steady_state, uncorrected


class AvaGradOptions(Options):
    """Which form: the released code or the published algorithm."""

    form: Literal["released", "published"] = "released"


def released_update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any, gamma: Any) -> Any:
    """The update α_t·γ_t·m̂_t/(√(v/(1 − β2^{t−1})) + ε), then v_t, and γ_{t+1} = √(v/(1 − β2^t)) + ε, of the old v.

    c is (√(1 − β2^{t−1}), √(1 − β2^t)); the first step, for which c_0 is 0, does not move x.
    """
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    following = sqrt(exp_avg_sq) / c[1] + h.eps
    if c[0] == 0:
        return a * exp_avg, (m, v, following)  # m is still 0
    return a * gamma * m / (sqrt(exp_avg_sq) / c[0] + h.eps), (m, v, following)


def published_update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any) -> Any:
    """The update α_t·m_t·η_t/|η_t| with η_t = 1/(√v_{t−1} + ε) > 0."""
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    return a * m, (m,)


def delayed_correction(t: Any, scale: Any, h: Any, power1: Any, power2: Any) -> Any:
    """α_t/(1 − β1^t), √(1 − β2^{t−1}) and √(1 − β2^t), t counted from 1."""
    power1, before, power2 = decayed(power1, h.beta1), power2, decayed(power2, h.beta2)
    return scale / (1.0 - power1), (sqrt(1.0 - before), sqrt(1.0 - power2)), (power1, power2)


def released_drift(slopes: Floats, h: Hyper) -> Floats:
    """D = Σ_j m_j·(√v_{j−2} + ε)/(√v_{j−1} + ε)."""
    m, root = steady_state(slopes, h.beta1), np.sqrt(steady_state(slopes**2, h.beta2)) + h.eps
    total: Floats = np.sum(m * np.roll(root, 2, axis=0) / np.roll(root, 1, axis=0), axis=0)
    return total


def published_drift(slopes: Floats, h: Any) -> Floats:
    """D = Σ_j m_j = Σ_j s_j."""
    return np.full(np.shape(h.lr), np.sum(slopes))


RELEASED = Rule(
    released_update,
    {"exp_avg": 0.0, "exp_avg_sq": 0.0, "gamma": 0.0},
    delayed_correction,
    (1.0, 1.0),
    drift=released_drift,
    mean=FIRST_MOMENT,
)
HYPER = hyper("lr", "beta1", "one_minus_beta1")
PUBLISHED = Rule(
    published_update, {"exp_avg": 0.0}, uncorrected, (), hyper=HYPER, drift=published_drift, mean=FIRST_MOMENT
)

OPTIMIZER = Optimizer(
    title="AvaGrad",
    summary="SGD with momentum, scaled by the ratio of the last two √v",
    lines=(
        "γ_t = √(v_{t−2}/(1 − β2^{t−1})) + ε",
        "x_{t+1} = x_t − α_t·γ_t/(1 − β1^t)·m_t/(√(v_{t−1}/(1 − β2^{t−1})) + ε), from t = 2 on",
        "m_t and v_t as Adam's",
    ),
    remarks=(
        "The paper divides by the norm of 1/(√v_{t−1} + ε) over all parameters. In one dimension that leaves SGD with "
        "momentum: `form: published`. The released code and pytorch_optimizer use the norm of the step before.",
    ),
    source="Savarese et al. 2021, as released",
    claim=Claim(
        Kind.STATIONARY,
        "Savarese et al. 2021",
        "bounded gradients, any ε > 0",
    ),
    defaults={"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 0.1},
    rule=lambda options: RELEASED if options.form == "released" else PUBLISHED,
    options=AvaGradOptions,
    variants=({"form": "published"},),
    grows=lambda options: {"lr": 1.0},
)
