"""Step-size schedules α_t, with t counted from 0."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Schedule(ABC):
    """Step sizes derived from one learning rate.

    Attributes:
        lr: α > 0.
        constant: whether α_t is the same at every step, a condition of fast-forwarding.
    """

    lr: float
    constant: ClassVar[bool]

    @abstractmethod
    def scales(self, start: int, stop: int) -> NDArray[np.float64]:
        """α_t/α of steps start ≤ t < stop, float64 of shape (stop - start,)."""

    def step_sizes(self, start: int, stop: int) -> NDArray[np.float64]:
        """α_t of steps start ≤ t < stop, float64 of shape (stop - start,)."""
        return self.lr * self.scales(start, stop)


class Constant(Schedule):
    """α_t = α, as in the reference experiment."""

    constant = True

    def scales(self, start: int, stop: int) -> NDArray[np.float64]:
        return np.ones(stop - start)


class InverseSquareRoot(Schedule):
    """α_t = α/√(t+1): the paper's α/√t, whose t counts from 1 (Theorems 1 and 4)."""

    constant = False

    def scales(self, start: int, stop: int) -> NDArray[np.float64]:
        return 1 / np.sqrt(np.arange(start + 1, stop + 1, dtype=np.float64))


SCHEDULES: dict[str, type[Schedule]] = {"constant": Constant, "inv-sqrt": InverseSquareRoot}
