"""Defines AdaBound and AMSBound (Luo et al. 2019, arXiv 1902.09843, Algorithms 2 and 3), as released by the authors."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from amsgrad_exp.arithmetic import maximum, minimum, sqrt
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.claims import Claim, Kind, no_momentum
from amsgrad_exp.rules.moments import FIRST_MOMENT, bias_corrected, moments, moments_and_maximum
from amsgrad_exp.rules.rule import Hyper, Optimizer, Options, always, hyper


class AdaBoundOptions(Options):
    """`final_lr` is the step size that both bounds converge to, and `gamma` says how fast they do."""

    final_lr: Annotated[Number, Field(gt=0)] = 0.1
    gamma: Annotated[Number, Field(gt=0)] = 1e-3


def adabound_update(g, a, c, h, exp_avg, exp_avg_sq):
    """The update clip(α_t/(√v_t + ε), l_t, u_t)·m_t. α_t has both of Adam's corrections; c is (l_t, u_t)."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    return minimum(maximum(a / (sqrt(v) + h.eps), c[0]), c[1]) * m, (m, v)


def amsbound_update(g, a, c, h, exp_avg, exp_avg_sq, max_exp_avg_sq):
    """AdaBound's update with v̂_t = max(v̂, v_t) instead of v_t."""
    m, v, v_max = moments_and_maximum(g, h, exp_avg, exp_avg_sq, max_exp_avg_sq)
    return minimum(maximum(a / (sqrt(v_max) + h.eps), c[0]), c[1]) * m, (m, v, v_max)


def bounds(t, scale, h, power1=1.0, power2=1.0, unsettled=1.0):
    """Return α_t with both of Adam's corrections, and l_t and u_t, which never become constant."""
    final, length = h.final_lr * scale, h.gamma * (t + 1)
    scale, _, (power1, power2) = bias_corrected(t, scale, h, power1, power2)
    return scale, (final * (1.0 - 1.0 / (length + 1.0)), final * (1.0 + 1.0 / length)), (power1, power2, unsettled)


def drift(slopes, h):
    """D = Σ_j s_j·F/α for large t. It has the sign of Σ_j s_j."""
    return np.sum(slopes) * np.asarray(h.final_lr) / h.lr


def bounded(update):
    """Make the rule with one of the two updates."""
    h = hyper(*Hyper._fields, "final_lr", "gamma")
    return always(update, bounds, hyper=h, settles=False, drift=drift, mean=FIRST_MOMENT)


ADABOUND = Optimizer(
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
        "a decaying β1 (in the gauntlet: β1 = 0)",
        no_momentum,
        refuted="Savarese 2019 (arXiv 1908.04457), Corollary 1, who corrects it",
    ),
    rule=bounded(adabound_update),
    options=AdaBoundOptions,
    grows=lambda options: {"final_lr": 1.0},
)

AMSBOUND = Optimizer(
    title="AMSBound",
    summary="AdaBound that divides by the root of the largest v so far",
    lines=(
        "v̂_t = max(v̂_{t−1}, v_t)",
        "η_t = clip(α_t·√(1 − β2^t)/(1 − β1^t)/(√v̂_t + ε), l_t, u_t)",
        "x_{t+1} = x_t − η_t·m_t, the rest as AdaBound's",
    ),
    remarks=("What is said of AdaBound holds here. pytorch_optimizer has it as `ams_bound` of AdaBound.",),
    source="Luo et al. 2019, as released",
    claim=Claim(Kind.REGRET, "Luo et al. 2019", "a decaying β1 (in the gauntlet: β1 = 0)", no_momentum),
    rule=bounded(amsbound_update),
    options=AdaBoundOptions,
    grows=lambda options: {"final_lr": 1.0},
)
