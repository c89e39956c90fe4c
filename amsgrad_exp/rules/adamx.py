"""AdamX (Tran and Phong 2019, arXiv 1904.03590, Algorithm 2)."""

from __future__ import annotations

import functools
from typing import Any

from amsgrad_exp.arithmetic import maximum, sqrt
from amsgrad_exp.rules.amsgrad import DECAYING, MOMENTS, drift
from amsgrad_exp.rules.claims import Claim, Kind, beta1_below_root_beta2
from amsgrad_exp.rules.decay import DECAYS, DecayOptions
from amsgrad_exp.rules.mean import DECAYING_FIRST_MOMENT
from amsgrad_exp.rules.rule import Optimizer, Rule


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any) -> Any:
    """The update α_t·m_t/(√v̂_t + ε) with v̂_t = max(((1 − β1t)/(1 − β1,t−1))²·v̂, v_t); c is (β1t, 1 − β1t, that square).

    With a constant β1 this is AMSGrad without bias correction.
    """
    m = c[0] * exp_avg + c[1] * g
    v = h.beta2 * exp_avg_sq + h.one_minus_beta2 * g * g
    v_max = maximum(c[2] * max_exp_avg_sq, v)
    return a * m / (sqrt(v_max) + h.eps), (m, v, v_max)


@functools.cache
def with_decay(kind: str) -> Rule:
    """The rule with one kind of decay of β1."""
    decay, start = DECAYS[kind]

    def coefficients(t: Any, scale: Any, h: Any, power: Any, before: Any) -> Any:
        """β1,t−1 is carried along with the power until β1 no longer decays."""
        beta1, after = decay(t, h, power)
        growth = (1.0 - beta1) / (1.0 - before) if power > 0 else 1.0
        return scale, (beta1, 1.0 - beta1, growth * growth), (after, beta1 if after > 0 else 0.0)

    # If β1 decays, v̂ depends on the first steps, so the drift is not a function of one period's slopes.
    known = drift if kind == "none" else None
    return Rule(
        update,
        MOMENTS,
        coefficients,
        (start, 0.0),
        hyper=DECAYING,
        settles=kind != "harmonic",
        drift=known,
        mean=DECAYING_FIRST_MOMENT,
    )


OPTIMIZER = Optimizer(
    title="AdamX",
    summary="AMSGrad with a correction of v̂ for a β1 that decays",
    lines=(
        "m_t = β1t·m_{t−1} + (1 − β1t)·g_t, v_t as Adam's",
        "v̂_t = max(((1 − β1t)/(1 − β1,t−1))²·v̂_{t−1}, v_t)",
        "x_{t+1} = x_t − α_t·m_t/(√v̂_t + ε)",
    ),
    remarks=(
        "torch.optim, optax and pytorch_optimizer lack it. With a constant β1, the default, it is AMSGrad in the "
        "paper's dialect.",
    ),
    source="Tran and Phong 2019, Algorithm 2",
    claim=Claim(
        Kind.REGRET,
        "Tran and Phong 2019, Theorem 5.1; with constant β1, where it is AMSGrad, Alacaoglu et al. 2020",
        "β1 < √β2",
        beta1_below_root_beta2,
    ),
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    rule=lambda options: with_decay(options.beta1_decay),
    options=DecayOptions,
)
