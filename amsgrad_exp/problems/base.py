"""What every problem has."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from amsgrad_exp.numbers import Number
from amsgrad_exp.verdict import Verdict


class Problem(BaseModel):
    """What every problem has: an interval, a sequence of slopes and the optimum they imply.

    Attributes:
        low, high: the interval to which x is clamped after every step.
        deterministic: whether the slopes are the same for every seed.
        natural_settings: settings under which the paper states the problem, where they differ from
            the reference experiment's; each is a default that the user's own setting overrides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    deterministic: ClassVar[bool] = True

    name: str
    low: Number = -1.0
    high: Number = 1.0

    @property
    @abstractmethod
    def mean_slope(self) -> float:
        """The slope averaged over a period, or its expectation; it decides the optimum."""

    @property
    @abstractmethod
    def largest_slope(self) -> float:
        """The largest magnitude of a slope."""

    @property
    @abstractmethod
    def steps_per_period(self) -> int | None:
        """After how many steps the slopes repeat; None when they never do."""

    @abstractmethod
    def slopes(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        """The slopes of steps start ≤ t < stop, float64 of shape (stop - start,)."""

    @property
    def interval(self) -> tuple[float, float]:
        """The ends to which x is clamped after every step."""
        return self.low, self.high

    @property
    def optimum(self) -> float:
        """x*, the minimizer over the interval of the mean loss: the end that the mean slope points away from."""
        return self.low if self.mean_slope > 0 else self.high

    @property
    def worst(self) -> float:
        """The other end of the interval, where the mean loss is largest."""
        return self.high if self.mean_slope > 0 else self.low

    def verdict(self, x: float) -> Verdict:
        """Where an iterate, or the mean of many, is: within 5 % of the interval's width of x*, or of the worst end."""
        margin = 0.05 * (self.high - self.low)
        if abs(x - self.optimum) <= margin:
            return Verdict.OPTIMUM
        return Verdict.WORST if abs(x - self.worst) <= margin else Verdict.BETWEEN

    @property
    def start(self) -> float:
        """x before the first step: 0, or the point of the interval nearest to it."""
        return min(max(0.0, self.low), self.high)

    @property
    def natural_settings(self) -> dict[str, float | str]:
        """Defaults of the optimizer's settings and the schedule that belong to this problem."""
        return {}

    @model_validator(mode="after")
    def _has_an_optimum(self) -> Problem:
        if not self.low < self.high:
            raise ValueError(f"the interval [{self.low:g}, {self.high:g}] is empty: low must be less than high")
        if self.mean_slope == 0:
            raise ValueError("the mean slope is 0, so no point is better than another: change a slope")
        return self
