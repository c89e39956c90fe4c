"""Defines the online problem of the AMSGrad paper's experiment."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from amsgrad_exp.numbers import Integer, Number
from amsgrad_exp.problems.base import LinearProblem


def steep_once(start: int, stop: int, period: int, phase: int, steep: float, shallow: float) -> NDArray[np.float64]:
    """Slopes of steps start ≤ t < stop: steep if t mod period = phase, else shallow; shape (1, stop - start)."""
    slopes = np.full((1, stop - start), shallow)
    slopes[0, (phase - start) % period :: period] = steep
    return slopes


class Online(LinearProblem):
    """The paper's online experiment: steep if t mod period = phase, else shallow.

    f_t(x) = 1010·x if t mod 101 = 1, −10·x otherwise, on [−1, 1]; x* = −1.
    """

    source: ClassVar[str] = "Reddi, Kale and Kumar 2018, Section 5"

    name: Literal["online"] = "online"
    steep: Number = 1010.0
    shallow: Number = -10.0
    period: Annotated[Integer, Field(ge=1, le=10**18)] = 101
    phase: Annotated[Integer, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _phase_within_period(self) -> Online:
        if self.phase >= self.period:
            raise ValueError(f"phase must be less than period ({self.period}), not {self.phase}")
        return self

    @property
    def mean_slope(self) -> float:
        return (self.steep + (self.period - 1) * self.shallow) / self.period

    @property
    def largest_slope(self) -> float:
        return max(abs(self.steep), abs(self.shallow))

    @property
    def steps_per_period(self) -> int:
        return self.period

    def coefficients(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        return steep_once(start, stop, self.period, self.phase, self.steep, self.shallow)


PROBLEM = Online
