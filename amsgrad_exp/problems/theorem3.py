"""Defines the problem of Theorem 3 of the AMSGrad paper."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from amsgrad_exp.numbers import Number
from amsgrad_exp.problems.base import LinearProblem
from amsgrad_exp.problems.stochastic import steep_at_random


class RarelyC(LinearProblem):
    """f_t(x) = C·x with probability p = (1 + δ)/(C + 1), −x otherwise; E f_t(x) = δ·x."""

    C: Annotated[Number, Field(gt=1, le=1e100)] = 101.0
    delta: Annotated[Number, Field(gt=0, lt=1)] = 0.02
    deterministic: ClassVar[bool] = False
    steps_per_period: ClassVar[None] = None

    @property
    def mean_slope(self) -> float:
        return self.delta

    @property
    def largest_slope(self) -> float:
        return self.C

    def coefficients(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        return steep_at_random(start, stop, seed, (1 + self.delta) / (self.C + 1), self.C, -1.0)


class Theorem3(RarelyC):
    """The problem of the paper's Theorem 3: Adam also fails on random losses, for every β1 < √β2 and some C.

    f_t(x) = C·x with probability (1 + δ)/(C + 1), −x otherwise, on [−1, 1]; E f_t(x) = δ·x, so x* = −1. The theorem
    says that Adam moves up on average for any α, if C is large enough for β1, β2 and δ. It gives no values; C = 101 and
    δ = 0.02 are those of the paper's Section 5 (`stochastic`), divided by ten.
    """

    source: ClassVar[str] = "Reddi, Kale and Kumar 2018, Theorem 3"

    name: Literal["theorem3"] = "theorem3"

    @property
    def natural_settings(self) -> dict[str, float | str]:
        return {"lr": 1.0, "beta1": 0.9, "beta2": 0.99, "schedule": "inv-sqrt"}


PROBLEM = Theorem3
