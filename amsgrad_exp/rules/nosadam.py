"""NosAdam (Huang, Wang and Dong 2019, arXiv 1805.07557, Algorithm 1, with b_k = k^−γ), m bias-corrected as released."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from amsgrad_exp.arithmetic import power, sqrt
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.claims import Claim, Kind, no_momentum
from amsgrad_exp.rules.mean import FIRST_MOMENT
from amsgrad_exp.rules.rule import Floats, Optimizer, Options, Rule, decayed, hyper


class NosAdamOptions(Options):
    """γ: the larger it is, the more weight older gradients have; with 0 all have the same weight."""

    gamma: Annotated[Number, Field(ge=0)] = 0.1


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any) -> Any:
    """v_t = v + (g² − v)·b_t/B_t = Σ_k b_k·g_k²/B_t, and the update α_t·m̂_t/(√v_t + ε); c is b_t/B_t = 1 − β2t."""
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    v = exp_avg_sq + c[0] * (g * g - exp_avg_sq)
    return a * m / (sqrt(v) + h.eps), (m, v)


def nostalgia(t: Any, scale: Any, h: Any, power1: Any, total: Any) -> Any:
    """α_t/(1 − β1^t), and b_t/B_t with B_t = Σ_{k≤t} b_k, which is carried and never settles."""
    power1 = decayed(power1, h.beta1)
    weight = 1.0 / power(1.0 * (t + 1), h.gamma)
    total = total + weight
    return scale / (1.0 - power1), (weight / total,), (power1, total)


def drift(slopes: Floats, h: Any) -> Floats:
    """D = Σ_j s_j/(√v + ε) for large t, where v is the mean of all s². It has the sign of Σ_j s_j."""
    total: Floats = np.sum(slopes) / (np.sqrt(np.mean(slopes**2)) + np.asarray(h.eps))
    return total


RULE = Rule(
    update,
    {"exp_avg": 0.0, "exp_avg_sq": 0.0},
    nostalgia,
    (1.0, 0.0),
    hyper=hyper("lr", "beta1", "one_minus_beta1", "eps", "gamma"),
    settles=False,
    drift=drift,
    mean=FIRST_MOMENT,
)

OPTIMIZER = Optimizer(
    title="NosAdam",
    summary="Adam whose v is a mean of all squared gradients that gives older ones more weight",
    lines=(
        "b_k = k^−γ, B_t = Σ_{k≤t} b_k",
        "v_t = Σ_{k≤t} b_k·g_k²/B_t, m_t as Adam's",
        "x_{t+1} = x_t − α_t/(1 − β1^t)·m_t/(√v_t + ε)",
    ),
    remarks=(
        "The released PyTorch code has γ = 0 by default, which is AdamNC with a corrected m. The default here, "
        "γ = 0.1, is that of the authors' MATLAB code.",
    ),
    source="Huang, Wang and Dong 2019, Algorithm 1",
    claim=Claim(
        Kind.REGRET,
        "Huang, Wang and Dong 2019, Theorem 1",
        "β1 that decays (β1 = 0), b_k = k^−γ with γ ≥ 0",
        no_momentum,
    ),
    defaults={"lr": 1e-3, "beta1": 0.9, "eps": 1e-8},
    rule=lambda options: RULE,
    options=NosAdamOptions,
)
