"""Defines problems: sequences of coefficients, and losses made of them (any, linear on an interval, or quadratic)."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from amsgrad_exp.arithmetic import number
from amsgrad_exp.numbers import Number
from amsgrad_exp.verdict import Verdict

Floats = NDArray[np.float64]
Settings = dict[str, float | str]

LONGEST = 10_000  # steps of a period whose gradients are summed one by one


@dataclass(frozen=True)
class Periodic:
    """A number for each step t: ``special[t mod period]`` if there is one, else ``other``.

    All sequences have the same four members. `fill` writes the numbers of the steps from ``start`` on into a row,
    (steps,); ``period`` is None if they never repeat; ``mean`` is over a period, or the expectation; ``largest`` is the
    largest magnitude.
    """

    period: int
    special: Mapping[int, float]
    other: float

    def fill(self, row: Floats, start: int, seed: int) -> None:
        row[:] = self.other
        for phase, value in self.special.items():
            row[(phase - start) % self.period :: self.period] = value

    @property
    def mean(self) -> float:
        return (sum(self.special.values()) + (self.period - len(self.special)) * self.other) / self.period

    @property
    def largest(self) -> float:
        return max(map(abs, (*self.special.values(), self.other)))


@dataclass(frozen=True)
class Listed:
    """At most 2¹⁷ numbers, repeated."""

    numbers: tuple[float, ...]

    def fill(self, row: Floats, start: int, seed: int) -> None:
        first = start % self.period
        repeats = -(-(first + len(row)) // self.period)
        row[:] = np.tile(self.numbers, repeats)[first : first + len(row)]

    @property
    def period(self) -> int:
        return len(self.numbers)

    @property
    def mean(self) -> float:
        # Scaling by 2⁻¹⁷ is exact and keeps the sum from overflowing.
        return math.fsum(each * 2.0**-17 for each in self.numbers) / self.period * 2.0**17

    @property
    def largest(self) -> float:
        return max(map(abs, self.numbers))


@dataclass(frozen=True)
class AtRandom:
    """Steep with the given probability, else shallow; a function of the seed and the step alone.

    It is steep at step t if word t of Philox 4×64 with the key ``seed``, divided by 2⁶⁴, is less than the probability.
    Philox can start at any step (Salmon et al. 2011, *Parallel Random Numbers: As Easy as 1, 2, 3*).
    """

    probability: float | Fraction
    steep: float
    shallow: float
    period: ClassVar[None] = None

    def fill(self, row: Floats, start: int, seed: int) -> None:
        block, offset = divmod(start, 4)  # each value of Philox's counter gives four words
        words = np.random.Philox(key=seed, counter=block).random_raw(len(row) + offset)[offset:]
        row[:] = np.where(words < int(self.probability * 2**64), self.steep, self.shallow)

    @property
    def mean(self) -> float:
        return float(self.probability * self.steep + (1 - self.probability) * self.shallow)

    @property
    def largest(self) -> float:
        return max(abs(self.steep), abs(self.shallow))


Sequence = Periodic | Listed | AtRandom


class Problem(BaseModel):
    """A sequence of losses f_t(x), each a function of x and of the step's coefficients."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: ClassVar[str]  # the paper and the place in it
    convex: ClassVar[bool] = False  # whether every loss is convex

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
    def source_settings(self) -> Settings:
        """The optimizer's settings and the schedule that the problem's source states; used as defaults."""
        return {}

    @property
    def transient_steps(self) -> float:
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
    """Linear losses f_t(x) = slope_t·x on an interval [low, high]; the only coefficient is the slope."""

    convex: ClassVar[bool] = True

    low: Number = -1.0
    high: Number = 1.0

    @staticmethod
    def loss(x: Any, s: Any) -> Any:
        return s * x

    @staticmethod
    def slope(x: Any, s: Any) -> Any:
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
    def transient_steps(self) -> float:
        """Σ_t |s_t|/|mean s|; a random problem counts as if its steep slopes were periodic."""
        period = self.steps_per_period
        if period is None:
            return 2 * self.largest_slope / abs(self.mean_slope)
        of_largest = self.largest_slope * max(0, period - LONGEST)
        slopes = self.coefficients(0, min(period, LONGEST))[0]
        return float(np.sum(np.abs(slopes)) + of_largest) / abs(self.mean_slope)

    def verdict(self, x: float) -> Verdict:
        """Classify an iterate or a mean of iterates: within 5 % of the interval's width of an end, or between.

        If x is unbounded, beyond an end counts as at that end, and at the worst end as moving away.
        """
        part = (x - self.optimum) / (self.worst - self.optimum)
        if part <= 0.05:
            return Verdict.OPTIMUM
        worst = Verdict.WORST if math.isfinite(self.interval[0]) else Verdict.AWAY
        return worst if part >= 0.95 else Verdict.BETWEEN

    @model_validator(mode="after")
    def _has_an_optimum(self) -> LinearProblem:
        if not self.low < self.high:
            raise ValueError(f"the interval [{self.low:g}, {self.high:g}] is empty: low must be less than high")
        if self.mean_slope == 0:
            raise ValueError("the mean slope is 0, so all points are equally good: change a slope")
        return self


class QuadraticProblem(Problem):
    """Losses f_t(x) = c·(x − b)²/2 on all of ℝ with the coefficients c and b, whose mean is least at x* = 0."""

    optimum: ClassVar[float] = 0.0

    start_at: Number

    @staticmethod
    def loss(x: Any, c: Any, b: Any) -> Any:
        return c * (x - b) * (x - b) * number(0.5, x)

    @staticmethod
    def slope(x: Any, c: Any, b: Any) -> Any:
        return c * (x - b)

    @property
    def start(self) -> float:
        return self.start_at

    @model_validator(mode="after")
    def _does_not_stay_where_it_starts(self) -> QuadraticProblem:
        if self.distance == 0:
            raise ValueError("start_at must not be the optimum, 0, from which x never moves")
        return self
