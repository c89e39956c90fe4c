"""Defines the base classes of problems: with any losses, with linear losses on an interval, and with quadratic ones."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from amsgrad_exp.arithmetic import number
from amsgrad_exp.numbers import Number
from amsgrad_exp.problems.sequences import Floats, Sequence
from amsgrad_exp.verdict import Verdict

Settings = dict[str, float | str]

LONGEST = 10_000  # steps of a period whose gradients are summed one by one


class Problem(BaseModel):
    """A sequence of losses f_t(x), each a function of x and of the step's coefficients.

    Attributes:
        source: the paper and the place in it.
        convex: whether every loss is convex.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: ClassVar[str]
    convex: ClassVar[bool] = False

    name: str

    @staticmethod
    @abstractmethod
    def loss(x: Any, *coefficients: Any) -> Any:
        """f_t(x): a plain function of numbers, which is compiled, and differentiated by torch."""

    @staticmethod
    @abstractmethod
    def slope(x: Any, *coefficients: Any) -> Any:
        """The derivative of `loss` with respect to x, which is compiled."""

    @abstractmethod
    def sequences(self) -> tuple[Sequence, ...]:
        """The sequence of each coefficient; all of them have the same period."""

    def coefficients(self, start: int, stop: int, seed: int = 0) -> Floats:
        """The coefficients of the losses of steps start ≤ t < stop, float64 of shape (coefficients, stop - start)."""
        sequences = self.sequences()
        coefficients = np.empty((len(sequences), stop - start))
        for row, sequence in zip(coefficients, sequences, strict=True):
            sequence.fill(row, start, seed)
        return coefficients

    @property
    def steps_per_period(self) -> int | None:
        """After how many steps the losses repeat; None if they are random."""
        return self.sequences()[0].period

    @property
    def deterministic(self) -> bool:
        """Whether the losses are the same for every seed."""
        return self.steps_per_period is not None

    @property
    def largest_slope(self) -> float:
        """The largest magnitude of a gradient, or of a coefficient if gradients are unbounded."""
        return self.sequences()[0].largest

    @property
    @abstractmethod
    def optimum(self) -> float:
        """x*, the minimizer of the mean loss over `comparators`."""

    @property
    def interval(self) -> tuple[float, float]:
        """The interval to which x is clamped after every step; infinite ends do not clamp it."""
        return -math.inf, math.inf

    @property
    def comparators(self) -> tuple[float, float]:
        """The interval whose best point the regret compares with; by default the interval of x."""
        return self.interval

    @property
    def start(self) -> float:
        """x before the first step: the point of the interval nearest to 0."""
        low, high = self.interval
        return min(max(0.0, low), high)

    @property
    def natural_settings(self) -> Settings:
        """The optimizer's settings and the schedule that the problem's source states; used as defaults."""
        return {}

    @property
    def unevenness(self) -> float:
        """The length of the transient in steps: after it, the mean loss dominates the variation within a period.

        It is Σ_t |f_t(x) − f_t(x*)| over a period, divided by |mean of f_t(x) − f_t(x*)|, at x = x* + `distance`: after
        this many steps at x, the regret is as large as the most that one period can add to or subtract from it.
        """
        coefficients = self.coefficients(0, self.steps_per_period or 1)
        losses = self.loss(self.optimum + self.distance, *coefficients) - self.loss(self.optimum, *coefficients)
        return float(np.sum(np.abs(losses)) / abs(np.mean(losses)))

    @property
    def distance(self) -> float:
        """The distance that counts as far from x* if x is unbounded: that of the starting point."""
        return abs(self.start - self.optimum)

    def verdict(self, x: float) -> Verdict:
        """Classify an iterate or a mean of iterates on an unbounded problem.

        It is at the optimum if it is within 5 % of `distance` from x*, and away if it is farther than `distance`.
        """
        off = abs(x - self.optimum)
        if off <= 0.05 * self.distance:
            return Verdict.OPTIMUM
        return Verdict.BETWEEN if off <= self.distance else Verdict.AWAY


class LinearProblem(Problem):
    """Linear losses f_t(x) = slope_t·x on an interval [low, high]; the only coefficient is the slope.

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
    def mean_slope(self) -> float:
        """The mean slope over a period, or its expectation; its sign decides which end is the optimum."""
        return self.sequences()[0].mean

    @property
    def interval(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def optimum(self) -> float:
        """x*, the minimizer of the mean loss over the interval: low if the mean slope is positive, else high."""
        return self.low if self.mean_slope > 0 else self.high

    @property
    def worst(self) -> float:
        """The end of the interval at which the mean loss is largest."""
        return self.high if self.mean_slope > 0 else self.low

    @property
    def unevenness(self) -> float:
        """As `Problem.unevenness`: Σ_t |s_t|/|mean s|; a random problem counts as if its steep slopes were periodic."""
        period = self.steps_per_period
        if period is None:
            return 2 * self.largest_slope / abs(self.mean_slope)
        of_largest = self.largest_slope * max(0, period - LONGEST)
        slopes = self.coefficients(0, min(period, LONGEST))[0]
        return float(np.sum(np.abs(slopes)) + of_largest) / abs(self.mean_slope)

    def verdict(self, x: float) -> Verdict:
        """Classify an iterate or a mean of iterates: within 5 % of the interval's width of an end, or between."""
        margin = 0.05 * (self.high - self.low)
        if abs(x - self.optimum) <= margin:
            return Verdict.OPTIMUM
        return Verdict.WORST if abs(x - self.worst) <= margin else Verdict.BETWEEN

    @model_validator(mode="after")
    def _has_an_optimum(self) -> LinearProblem:
        if not self.low < self.high:
            raise ValueError(f"the interval [{self.low:g}, {self.high:g}] is empty: low must be less than high")
        if self.mean_slope == 0:
            raise ValueError("the mean slope is 0, so all points are equally good: change a slope")
        return self


class QuadraticProblem(Problem):
    """Losses f_t(x) = c·(x − b)²/2 on all of ℝ with the coefficients c and b, whose mean is least at x* = 0.

    Attributes:
        start_at: x before the first step.
    """

    optimum: ClassVar[float] = 0.0

    start_at: Number

    @staticmethod
    def loss(x: Any, c: Any, b: Any) -> Any:
        """c·(x − b)²/2."""
        return c * (x - b) * (x - b) * number(0.5, x)

    @staticmethod
    def slope(x: Any, c: Any, b: Any) -> Any:
        """c·(x − b)."""
        return c * (x - b)

    @property
    def start(self) -> float:
        return self.start_at

    @model_validator(mode="after")
    def _does_not_stay_where_it_starts(self) -> QuadraticProblem:
        if self.distance == 0:
            raise ValueError("start_at must not be the optimum, 0, from which x never moves")
        return self
