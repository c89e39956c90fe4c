"""AdamNC (Reddi, Kale and Kumar 2018, arXiv 1904.09237, Algorithm 3) with β2t = 1 − 1/t, as its Corollary 2."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from amsgrad_exp.arithmetic import sqrt
from amsgrad_exp.rules.claims import Claim, Kind
from amsgrad_exp.rules.decay import DECAYS, DecayOptions
from amsgrad_exp.rules.mean import DECAYING_FIRST_MOMENT
from amsgrad_exp.rules.rule import Floats, Optimizer, Rule, hyper


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any) -> Any:
    """m_t = β1t·m + (1 − β1t)·g, v_t = v + (g² − v)/t: the mean of all g² so far. The update is α_t·m_t/(√v_t + ε).

    c is (β1t, 1 − β1t, 1/t).
    """
    m = c[0] * exp_avg + c[1] * g
    v = exp_avg_sq + c[2] * (g * g - exp_avg_sq)
    return a * m / (sqrt(v) + h.eps), (m, v)


def drift(slopes: Floats, h: Any) -> Floats:
    """D = Σ_j s_j/(√v + ε) for large t, where v is the mean of all s². It has the sign of Σ_j s_j."""
    total: Floats = np.sum(slopes) / (np.sqrt(np.mean(slopes**2)) + np.asarray(h.eps))
    return total


HYPER = hyper("lr", "beta1", "eps", "lam")


@functools.cache
def with_decay(kind: str) -> Rule:
    """The rule with one kind of decay of β1."""
    decay, start = DECAYS[kind]

    def coefficients(t: Any, scale: Any, h: Any, power: Any, unsettled: Any) -> Any:
        beta1, power = decay(t, h, power)
        return scale, (beta1, 1.0 - beta1, 1.0 / (t + 1)), (power, unsettled)

    return Rule(
        update,
        {"exp_avg": 0.0, "exp_avg_sq": 0.0},
        coefficients,
        (start, 1.0),
        hyper=HYPER,
        settles=False,
        drift=drift,
        mean=DECAYING_FIRST_MOMENT,
    )


OPTIMIZER = Optimizer(
    title="AdamNC",
    summary="Adam with β2t = 1 − 1/t: v is the mean of all squared gradients so far",
    lines=(
        "m_t = β1t·m_{t−1} + (1 − β1t)·g_t",
        "v_t = (1/t)·Σ_{k≤t} g_k²",
        "x_{t+1} = x_t − α_t·m_t/(√v_t + ε)",
    ),
    remarks=("torch.optim, optax and pytorch_optimizer lack it. With α_t = α/√t it is Adagrad with momentum.",),
    source="Reddi, Kale and Kumar 2018, Algorithm 3",
    claim=Claim(
        Kind.REGRET,
        "Reddi, Kale and Kumar 2018, Theorem 5 and Corollary 2; with constant β1 Alacaoglu et al. 2020",
        "β2t = 1 − 1/t",
    ),
    defaults={"lr": 1e-3, "beta1": 0.9, "eps": 1e-8},
    rule=lambda options: with_decay(options.beta1_decay),
    options=DecayOptions,
)
