"""AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101, Algorithm 2)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from amsgrad_exp.arithmetic import sqrt
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.adam import MOMENTS, moments
from amsgrad_exp.rules.claims import NOTHING
from amsgrad_exp.rules.mean import FIRST_MOMENT_WITHOUT_DECAY
from amsgrad_exp.rules.rule import Hyper, Optimizer, Options, Rule, decayed, hyper


class AdamWOptions(Options):
    """λ: every step also subtracts α_t·λ·x from x."""

    weight_decay: Annotated[Number, Field(ge=0)] = 0.01


def update(g: Any, a: Any, c: Any, h: Any, x: Any, exp_avg: Any, exp_avg_sq: Any) -> Any:
    """The update α_t·(m̂_t/(√v̂_t + ε) + λ·x); c is (1 − β1^t, √(1 − β2^t))."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    return a * (m / c[0] / (sqrt(v) / c[1] + h.eps) + h.weight_decay * x), (m, v)


def corrections(t: Any, scale: Any, h: Any, power1: Any, power2: Any) -> Any:
    """1 − β1^t and √(1 − β2^t), which correct m_t and v_t but not λ·x."""
    power1, power2 = decayed(power1, h.beta1), decayed(power2, h.beta2)
    return scale, (1.0 - power1, sqrt(1.0 - power2)), (power1, power2)


HYPER = hyper(*Hyper._fields, "weight_decay")
# No drift: the weight decay depends on x, so a period has no single D.
RULE = Rule(update, MOMENTS, corrections, (1.0, 1.0), hyper=HYPER, sees_x=True, mean=FIRST_MOMENT_WITHOUT_DECAY)

OPTIMIZER = Optimizer(
    title="AdamW",
    summary="Adam with decoupled weight decay",
    lines=(
        "m̂_t and v̂_t: Adam's m_t and v_t, bias-corrected",
        "x_{t+1} = x_t − α_t·(m̂_t/(√v̂_t + ε) + λ·x_t)",
    ),
    remarks=("The paper multiplies λ·x_t by the schedule only. torch.optim and this project multiply it by α_t.",),
    source="Loshchilov and Hutter 2019, Algorithm 2",
    claim=NOTHING,
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    rule=lambda options: RULE,
    options=AdamWOptions,
    torch="torch.optim.AdamW",
)
