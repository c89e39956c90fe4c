"""Defines the stochastic problem of the AMSGrad paper's experiment."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from amsgrad_exp.numbers import Number
from amsgrad_exp.problems.base import LinearProblem
from amsgrad_exp.problems.random import words


def steep_at_random(
    start: int, stop: int, seed: int, probability: float, steep: float, shallow: float
) -> NDArray[np.float64]:
    """Slopes of steps start ≤ t < stop, of shape (1, stop - start): steep with the given probability, else shallow."""
    lucky = words(start, stop, seed) < np.uint64(probability * 2.0**64)
    return np.where(lucky, steep, shallow)[None]


class Stochastic(LinearProblem):
    """The paper's stochastic experiment: steep with a small probability, else shallow.

    f_t(x) = 1010·x with probability 0.01, −10·x otherwise, on [−1, 1]; E f_t(x) = 0.2·x, so x* = −1. The gradient at
    step t depends only on (seed, t): it is steep if word t of `random.words`, divided by 2⁶⁴, is below the probability.
    """

    source: ClassVar[str] = "Reddi, Kale and Kumar 2018, Section 5"

    name: Literal["stochastic"] = "stochastic"
    steep: Number = 1010.0
    shallow: Number = -10.0
    probability: Annotated[Number, Field(gt=0, lt=1)] = 0.01
    deterministic: ClassVar[bool] = False
    steps_per_period: ClassVar[None] = None

    @property
    def mean_slope(self) -> float:
        return self.probability * self.steep + (1 - self.probability) * self.shallow

    @property
    def largest_slope(self) -> float:
        return max(abs(self.steep), abs(self.shallow))

    def coefficients(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        return steep_at_random(start, stop, seed, self.probability, self.steep, self.shallow)


PROBLEM = Stochastic
