"""What every problem has, and what the linear ones on an interval share."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from amsgrad_exp.numbers import Number
from amsgrad_exp.verdict import Verdict

Floats = NDArray[np.float64]

LONGEST = 10_000  # steps of a period that are looked at one by one


class Problem(BaseModel):
    """A sequence of losses f_t(x), each a function of x and of the step's coefficients.

    Attributes:
        source: the paper, and where in it.
        deterministic: whether the losses are the same for every seed.
        convex: whether every one of the losses is convex.
        steps_per_period: after how many steps the losses repeat; None when they never do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: ClassVar[str]
    deterministic: ClassVar[bool] = True
    convex: ClassVar[bool] = False

    name: str

    @staticmethod
    @abstractmethod
    def loss(x: Any, *coefficients: Any) -> Any:
        """f_t(x): a plain function of numbers, compiled as it is, and differentiated by torch."""

    @staticmethod
    @abstractmethod
    def slope(x: Any, *coefficients: Any) -> Any:
        """The derivative of `loss`, compiled as it is."""

    @abstractmethod
    def coefficients(self, start: int, stop: int, seed: int = 0) -> Floats:
        """The losses' coefficients at steps start ≤ t < stop, float64 of shape (coefficients, stop - start)."""

    @property
    @abstractmethod
    def steps_per_period(self) -> int | None:
        """After how many steps the losses repeat; None when they never do."""

    @property
    @abstractmethod
    def largest_slope(self) -> float:
        """The largest magnitude of a slope, or of a coefficient where slopes have no bound."""

    @property
    @abstractmethod
    def optimum(self) -> float:
        """x*, the minimizer of the mean loss over `comparators`."""

    @property
    def interval(self) -> tuple[float, float]:
        """The ends to which x is clamped after every step; infinite where it is not."""
        return -math.inf, math.inf

    @property
    def comparators(self) -> tuple[float, float]:
        """The ends of the interval whose best point regret is measured against: that of x."""
        return self.interval

    @property
    def start(self) -> float:
        """x before the first step: 0, or the point of the interval nearest to it."""
        low, high = self.interval
        return min(max(0.0, low), high)

    @property
    def natural_settings(self) -> dict[str, float | str]:
        """Defaults of the optimizer's settings and the schedule, as the problem's source states them."""
        return {}

    @property
    def unevenness(self) -> float:
        """How many steps the ups and downs of one period count for.

        Σ_t |f_t(x) − f_t(x*)| over a period, as a multiple of |mean f_t(x) − f_t(x*)|, at x = x* + `distance`: after
        that many steps there the regret is as large as what one period can add to it or take from it.
        """
        coefficients = self.coefficients(0, self.steps_per_period or 1)
        losses = self.loss(self.optimum + self.distance, *coefficients) - self.loss(self.optimum, *coefficients)
        return float(np.sum(np.abs(losses)) / abs(np.mean(losses)))

    @property
    def distance(self) -> float:
        """What is far from x*, where x has no ends: as far as where a run begins."""
        return abs(self.start - self.optimum)

    def verdict(self, x: float) -> Verdict:
        """Where an iterate, or the mean of many, is, on a problem without ends.

        At the optimum within 5 % of `distance` from x*; away beyond that distance.
        """
        off = abs(x - self.optimum)
        if off <= 0.05 * self.distance:
            return Verdict.OPTIMUM
        return Verdict.BETWEEN if off <= self.distance else Verdict.AWAY


class LinearProblem(Problem):
    """Linear losses f_t(x) = slope_t·x on an interval [low, high]; their one coefficient is the slope.

    Attributes:
        low, high: the interval to which x is clamped after every step.
    """

    convex: ClassVar[bool] = True

    low: Number = -1.0
    high: Number = 1.0

    @staticmethod
    def loss(x: Any, s: Any) -> Any:
        """f_t(x) = s·x."""
        return s * x

    @staticmethod
    def slope(x: Any, s: Any) -> Any:
        """f_t'(x) = s."""
        return s

    @property
    @abstractmethod
    def mean_slope(self) -> float:
        """The slope averaged over a period, or its expectation; it decides the optimum."""

    @property
    def interval(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def optimum(self) -> float:
        """x*, the minimizer over the interval of the mean loss: the end that the mean slope points away from."""
        return self.low if self.mean_slope > 0 else self.high

    @property
    def worst(self) -> float:
        """The other end of the interval, where the mean loss is largest."""
        return self.high if self.mean_slope > 0 else self.low

    @property
    def unevenness(self) -> float:
        """As `Problem.unevenness`: Σ_t |s_t| over |mean s|; of a random problem, as if steep slopes came one by one."""
        period = self.steps_per_period
        if period is None:
            return 2 * self.largest_slope / abs(self.mean_slope)
        of_largest = self.largest_slope * max(0, period - LONGEST)
        slopes = self.coefficients(0, min(period, LONGEST))[0]
        return float(np.sum(np.abs(slopes)) + of_largest) / abs(self.mean_slope)

    def verdict(self, x: float) -> Verdict:
        """Where an iterate, or the mean of many, is: within 5 % of the interval's width of x*, or of the worst end."""
        margin = 0.05 * (self.high - self.low)
        if abs(x - self.optimum) <= margin:
            return Verdict.OPTIMUM
        return Verdict.WORST if abs(x - self.worst) <= margin else Verdict.BETWEEN

    @model_validator(mode="after")
    def _has_an_optimum(self) -> LinearProblem:
        if not self.low < self.high:
            raise ValueError(f"the interval [{self.low:g}, {self.high:g}] is empty: low must be less than high")
        if self.mean_slope == 0:
            raise ValueError("the mean slope is 0, so no point is better than another: change a slope")
        return self
