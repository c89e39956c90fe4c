"""Step-size schedules α_t, with t counted from 0."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from amsgrad_exp.numbers import Integer, Number


@dataclass(frozen=True)
class Schedule(ABC):
    """Step sizes derived from one learning rate.

    Attributes:
        lr: α > 0.
        constant: whether α_t is the same at every step, a condition of fast-forwarding.
    """

    constant: ClassVar[bool]

    lr: float

    @abstractmethod
    def scales(self, start: int, stop: int) -> NDArray[np.float64]:
        """α_t/α of steps start ≤ t < stop, float64 of shape (stop - start,)."""

    def step_sizes(self, start: int, stop: int) -> NDArray[np.float64]:
        """α_t of steps start ≤ t < stop, float64 of shape (stop - start,)."""
        return self.lr * self.scales(start, stop)


@dataclass(frozen=True)
class Constant(Schedule):
    """α_t = α, as in the reference experiment."""

    constant: ClassVar[bool] = True

    def scales(self, start: int, stop: int) -> NDArray[np.float64]:
        return np.ones(stop - start)


@dataclass(frozen=True)
class InverseSquareRoot(Schedule):
    """α_t = α/√(1 + c·⌊t/every⌋): with c = 1 and every = 1 the paper's α/√t, whose t counts from 1 (Theorems 1 and 4).

    Attributes:
        c: how fast step sizes fall; α_t is 1/√2 of α where c·t is 1.
        every: how many steps in a row have the same size.
    """

    constant: ClassVar[bool] = False

    c: Annotated[Number, Field(gt=0, le=1e6)] = 1.0
    every: Annotated[Integer, Field(ge=1, le=10**9)] = 1

    def scales(self, start: int, stop: int) -> NDArray[np.float64]:
        t = np.arange(start, stop)
        scales: NDArray[np.float64] = 1 / np.sqrt(1 + self.c * (t if self.every == 1 else t // self.every))
        return scales


SCHEDULES: dict[str, type[Schedule]] = {"constant": Constant, "inv-sqrt": InverseSquareRoot}
