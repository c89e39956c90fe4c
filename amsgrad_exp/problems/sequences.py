"""Defines sequences of numbers, one number for each step t, from which the losses of a problem are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Periodic:
    """The number ``special[t mod period]`` if there is one, else ``other``."""

    period: int
    special: Mapping[int, float]
    other: float

    def fill(self, row: Floats, start: int, seed: int) -> None:
        """Write the numbers of the steps from ``start`` on into a row, (steps,)."""
        row[:] = self.other
        for phase, number in self.special.items():
            row[(phase - start) % self.period :: self.period] = number

    @property
    def mean(self) -> float:
        """The mean over a period."""
        return (sum(self.special.values()) + (self.period - len(self.special)) * self.other) / self.period

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(map(abs, (*self.special.values(), self.other)))


@dataclass(frozen=True)
class Listed:
    """At most 2¹⁷ numbers, repeated."""

    numbers: tuple[float, ...]

    def fill(self, row: Floats, start: int, seed: int) -> None:
        """Write the numbers of the steps from ``start`` on into a row, (steps,)."""
        first = start % self.period
        repeats = -(-(first + len(row)) // self.period)
        row[:] = np.tile(self.numbers, repeats)[first : first + len(row)]

    @property
    def period(self) -> int:
        """After how many steps the numbers repeat."""
        return len(self.numbers)

    @property
    def mean(self) -> float:
        """The mean over a period."""
        # Scaling by 2⁻¹⁷ is exact and keeps the sum from overflowing.
        return math.fsum(number * 2.0**-17 for number in self.numbers) / self.period * 2.0**17

    @property
    def largest(self) -> float:
        """The largest magnitude."""
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
        """Write the numbers of the steps from ``start`` on into a row, (steps,)."""
        block, offset = divmod(start, 4)  # each value of Philox's counter gives four words
        words = np.random.Philox(key=seed, counter=block).random_raw(len(row) + offset)[offset:]
        row[:] = np.where(words < int(self.probability * 2**64), self.steep, self.shallow)

    @property
    def mean(self) -> float:
        """The expectation."""
        return float(self.probability * self.steep + (1 - self.probability) * self.shallow)

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(abs(self.steep), abs(self.shallow))


Sequence = Periodic | Listed | AtRandom
