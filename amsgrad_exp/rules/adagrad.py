"""Adagrad (Duchi, Hazan and Singer 2011, JMLR 12, diagonal form)."""

from __future__ import annotations

from typing import Any

from amsgrad_exp.arithmetic import sqrt
from amsgrad_exp.rules.claims import Claim, Kind
from amsgrad_exp.rules.mean import GRADIENT
from amsgrad_exp.rules.rule import Optimizer, Rule, hyper, uncorrected


def update(g: Any, a: Any, c: Any, h: Any, squares: Any) -> Any:
    """The update α_t·g/(√S_t + ε) with S_t = S + g²."""
    s = squares + g * g
    return a * g / (sqrt(s) + h.eps), (s,)


# No drift: S grows without bound and D tends to 0, from the sign of the mean slope.
RULE = Rule(update, {"sum": 0.0}, uncorrected, (), hyper=hyper("lr", "eps"), mean=GRADIENT)

OPTIMIZER = Optimizer(
    title="Adagrad",
    summary="the gradient over the root of the sum of all its squares so far",
    lines=(
        "S_t = Σ_{k≤t} g_k²",
        "x_{t+1} = x_t − α_t·g_t/(√S_t + ε)",
    ),
    remarks=("optax starts S at 0.1 and has ε = 10⁻⁷ inside the root.",),
    source="Duchi, Hazan and Singer 2011",
    claim=Claim(
        Kind.REGRET,
        "Duchi, Hazan and Singer 2011, Theorem 5",
        "constant α, since its step sizes fall like 1/√t by themselves",
        schedule="constant",
    ),
    defaults={"lr": 1e-2, "eps": 1e-10},
    rule=lambda options: RULE,
    torch="torch.optim.Adagrad",
)
