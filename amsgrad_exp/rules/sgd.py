"""Stochastic gradient descent (Robbins and Monro 1951), with Polyak's momentum (1964) as in torch.optim."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.claims import Claim, Kind
from amsgrad_exp.rules.mean import HEAVY_BALL
from amsgrad_exp.rules.rule import Floats, Optimizer, Options, Rule, hyper, uncorrected


class SGDOptions(Options):
    """The momentum μ."""

    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0


def update(g: Any, a: Any, c: Any, h: Any, momentum_buffer: Any) -> Any:
    """The update α_t·b_t with b_t = μ·b + g."""
    b = h.momentum * momentum_buffer + g
    return a * b, (b,)


def drift(slopes: Floats, h: Any) -> Floats:
    """D = Σ_j s_j/(1 − μ). It always has the sign of the mean gradient."""
    total: Floats = np.sum(slopes) / (1 - np.asarray(h.momentum))
    return total


HYPER = hyper("lr", "momentum")
RULE = Rule(update, {"momentum_buffer": 0.0}, uncorrected, (), hyper=HYPER, drift=drift, mean=HEAVY_BALL)

OPTIMIZER = Optimizer(
    title="SGD",
    summary="the gradient, or with momentum a decaying sum of gradients",
    lines=(
        "b_t = μ·b_{t−1} + g_t",
        "x_{t+1} = x_t − α_t·b_t",
    ),
    source="Robbins and Monro 1951; Polyak 1964",
    claim=Claim(
        Kind.REGRET,
        "Zinkevich 2003, Theorem 1",
        "no momentum",
        lambda settings: not settings.options.get("momentum"),
    ),
    defaults={"lr": 1e-3},
    rule=lambda options: RULE,
    options=SGDOptions,
    torch="torch.optim.SGD",
    grows=lambda options: {"lr": 1.0},
)
