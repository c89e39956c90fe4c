"""Defines the problem of Theorem 6 of the AMSGrad paper."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from amsgrad_exp.numbers import Number
from amsgrad_exp.problems.base import LinearProblem
from amsgrad_exp.problems.online import steep_once


class Theorem6(LinearProblem):
    """The problem of the paper's Theorem 6: an ε in Adam's denominator does not help, because losses can be scaled.

    f_t(x) = 10√ε·C·x if t mod 3 = 0 (t mod 3 = 1 in the paper, which counts t from 1), −10√ε·x otherwise, on [−1, 1];
    x* = −1. The theorem's denominator is √(v + ε), with β1 = 0, β2 = 2/((1 + C²)·C²) and α_t = α/√t. The optimizers
    here add eps to √v instead: since √v + √ε ≥ √(v + ε), eps = √ε helps at least as much.
    """

    source: ClassVar[str] = "Reddi, Kale and Kumar 2018, Theorem 6"

    name: Literal["theorem6"] = "theorem6"
    C: Annotated[Number, Field(gt=2, le=1e6)] = 3.0
    epsilon: Annotated[Number, Field(ge=1e-20, le=1)] = 1e-8
    steps_per_period: ClassVar[int] = 3

    @property
    def scale(self) -> float:
        """The size of the shallow slopes, 10√ε."""
        return 10 * math.sqrt(self.epsilon)

    @property
    def mean_slope(self) -> float:
        return self.scale * (self.C - 2) / 3

    @property
    def largest_slope(self) -> float:
        return self.scale * self.C

    @property
    def natural_settings(self) -> dict[str, float | str]:
        square = self.C**2
        settings = {"lr": 0.5, "beta1": 0.0, "beta2": 2 / ((1 + square) * square), "eps": math.sqrt(self.epsilon)}
        return settings | {"schedule": "inv-sqrt"}

    def coefficients(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        return steep_once(start, stop, 3, 0, self.largest_slope, -self.scale)


PROBLEM = Theorem6
