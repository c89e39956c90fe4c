"""Problems: sequences of linear losses f_t(x) = slope_t·x on an interval [low, high], with t counted from 0.

A problem is a value: its constants, checked. What it is asked for is the slopes of a range of steps, as a pure
function of t (and, for a random problem, of a seed), so that any engine, any chunking and any resumed run sees
the same sequence.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AllowInfNan, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _not_a_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed")
    return value


def whole_number(value: object) -> object:
    """Accept 10_000_000, 1e7 and 100.0, as text too, where an integer is meant; hand on anything else."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d[\d_]*(\.\d*)?([eE][+-]?\d{1,3})?\s*", value):
        number = Decimal(value.replace("_", "").strip())
        return int(number) if number == number.to_integral_value() else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[float, AllowInfNan(False), BeforeValidator(_not_a_boolean)]
Integer = Annotated[int, BeforeValidator(_not_a_boolean), BeforeValidator(whole_number)]


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
    def optimum(self) -> float:
        """x*, the minimizer over the interval of the mean loss: the end that the mean slope points away from."""
        return self.low if self.mean_slope > 0 else self.high

    @property
    def worst(self) -> float:
        """The other end of the interval, where the mean loss is largest."""
        return self.high if self.mean_slope > 0 else self.low

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


def _steep_once(start: int, stop: int, period: int, phase: int, steep: float, shallow: float) -> NDArray[np.float64]:
    """Slopes of steps start ≤ t < stop: steep where t mod period = phase, else shallow."""
    slopes = np.full(stop - start, shallow)
    slopes[(phase - start) % period :: period] = steep
    return slopes


class Online(Problem):
    """The paper's online experiment: steep where t mod period = phase, else shallow (Section 5, Figure 1).

    f_t(x) = 1010·x if t mod 101 = 1, −10·x otherwise, on [−1, 1]; x* = −1.
    """

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

    def slopes(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        return _steep_once(start, stop, self.period, self.phase, self.steep, self.shallow)


class Stochastic(Problem):
    """The paper's stochastic experiment: steep with a small probability, else shallow (Section 5, Figure 1).

    f_t(x) = 1010·x with probability 0.01, −10·x otherwise, on [−1, 1]; E f_t(x) = 0.2·x, so x* = −1. The
    slope at t depends on (seed, t) alone: it is word t of the counter-based generator Philox 4×64 (Salmon et al.
    2011, *Parallel Random Numbers: As Easy as 1, 2, 3*) under the key `seed`, compared with the probability.
    """

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

    def slopes(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        block, offset = divmod(start, 4)  # one tick of Philox's counter makes four words
        words = np.random.Philox(key=seed, counter=block).random_raw(stop - start + offset)[offset:]
        return np.where(words < np.uint64(self.probability * 2.0**64), self.steep, self.shallow)


class Theorem1(Problem):
    """The problem of the paper's Theorem 1, on which Adam's average regret tends to (2C − 4)/3.

    f_t(x) = C·x if t mod 3 = 1, −x otherwise, on [−1, 1], C > 2; x* = −1. The theorem's settings are β1 = 0,
    β2 = 1/(1 + C²) and α_t = α/√t with α < √(1 − β2); α = 0.5 satisfies it for every C > 2.
    """

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

    def slopes(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        return _steep_once(start, stop, 3, 1, self.C, -1.0)


PROBLEMS: dict[str, type[Problem]] = {"online": Online, "stochastic": Stochastic, "theorem1": Theorem1}
