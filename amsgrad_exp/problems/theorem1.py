"""Defines the problem of Theorem 1 of the AMSGrad paper."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from amsgrad_exp.numbers import Number
from amsgrad_exp.problems.base import LinearProblem
from amsgrad_exp.problems.online import steep_once


class Theorem1(LinearProblem):
    """The problem of the paper's Theorem 1: Adam's average regret tends to (2C − 4)/3.

    f_t(x) = C·x if t mod 3 = 1, −x otherwise, on [−1, 1], C > 2; x* = −1. The theorem's settings are β1 = 0,
    β2 = 1/(1 + C²) and α_t = α/√t with α < √(1 − β2); α = 0.5 satisfies it for every C > 2.
    """

    source: ClassVar[str] = "Reddi, Kale and Kumar 2018, Theorem 1"

    name: Literal["theorem1"] = "theorem1"
    C: Annotated[Number, Field(gt=2, le=1e100)] = 3.0
    steps_per_period: ClassVar[int] = 3

    @property
    def mean_slope(self) -> float:
        return (self.C - 2) / 3

    @property
    def largest_slope(self) -> float:
        return self.C

    @property
    def natural_settings(self) -> dict[str, float | str]:
        return {"lr": 0.5, "beta1": 0.0, "beta2": 1 / (1 + self.C**2), "schedule": "inv-sqrt"}

    def coefficients(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        return steep_once(start, stop, 3, 1, self.C, -1.0)


PROBLEM = Theorem1
