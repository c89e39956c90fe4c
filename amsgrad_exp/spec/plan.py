"""Defines a plan, a grid of optimizers × axes whose numbered cells are trials."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.numbers import dump, number, whole_number
from amsgrad_exp.spec.experiment import Trial

MAX_CELLS = 10_000_000
FORMS = "start:stop:count, log:start:stop:count, log1m:start:stop:count or a list"

Values = Mapping[str, Any]
"""The value on each axis, by name: numbers in a sweep, names in a gauntlet."""


@dataclass(frozen=True)
class Plan(ABC):
    """Optimizers × axes, computed in blocks of cells and stored as one row per cell."""

    curves: ClassVar[bool]  # whether a cell's curve is stored, and a cell may be a mean over seeds, with intervals
    data: Mapping[str, Any]  # the complete description of the plan, as in YAML

    @property
    @abstractmethod
    def axes(self) -> Mapping[str, tuple[Any, ...]]:
        """The values of each axis; they are all numbers or all names."""

    @abstractmethod
    def at(self, optimizer: str, values: Values) -> Trial:
        """Return the trial of one optimizer with these values on the axes."""

    @abstractmethod
    def checked(self) -> Self:
        """Complete the plan and check it by building some of its trials."""

    @abstractmethod
    def example_of(self, optimizer: str) -> Trial:
        """Return a valid trial of an optimizer."""

    @cached_property
    def optimizers(self) -> tuple[str, ...]:
        """The optimizers' labels; for an optimizer without a label, its name."""
        return tuple(str(entry.get("label") or entry["name"]) for entry in self.data["optimizers"])

    @property
    def name(self) -> str:
        """The name of the experiment and of its folder."""
        return str(self.data["name"])

    @property
    def columns(self) -> dict[str, str]:
        """The columns that distinguish the cells of an optimizer, and their SQL types."""
        return {name: "TEXT" if isinstance(values[0], str) else "REAL" for name, values in self.axes.items()}

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The number of optimizers and of values on each axis; cells are numbered in C order."""
        return len(self.data["optimizers"]), *map(len, self.axes.values())

    def __len__(self) -> int:
        return math.prod(self.shape)

    def values(self, cell: int) -> tuple[str, dict[str, Any]]:
        """Return a cell's optimizer and values on the axes."""
        optimizer, *positions = (int(index) for index in np.unravel_index(cell, self.shape))
        values = {name: axis[at] for (name, axis), at in zip(self.axes.items(), positions, strict=True)}
        return self.optimizers[optimizer], values

    def trial(self, cell: int) -> Trial:
        """Return the trial of one cell; it raises what `at` raises."""
        return self.at(*self.values(cell))

    def entry(self, optimizer: str) -> dict[str, Any]:
        """Return an optimizer's entry as in YAML, by its name in `optimizers`."""
        return dict(self.data["optimizers"][self.optimizers.index(optimizer)])

    def to_yaml(self) -> str:
        """Write YAML that `read_plan` reads."""
        return dump(self.data)

    def __reduce__(self) -> tuple[Any, ...]:  # without cached properties
        return type(self), (self.data,)


def axis_values(name: str, written: Any) -> tuple[float, ...]:
    """Return the values of an axis, ascending and without duplicates, from one of the `FORMS`.

    The values of ``log:`` are evenly spaced in the logarithm; those of ``log1m:`` in the logarithm of one minus the
    value, for β near 1. A list consists of numbers or is a text.
    """
    try:
        if isinstance(written, str) and ":" in written:
            numbers = _range(name, written)
        else:
            listed = written.split(",") if isinstance(written, str) else written
            numbers = np.array([float(number(each) if isinstance(each, str) else each) for each in listed])
        if not np.all(np.isfinite(numbers)):
            raise ValueError
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        quotes = "" if isinstance(written, str | list) else " (in YAML, write it in quotes)"
        raise ConfigError(f"grid: {name} takes {FORMS}, not {written!r}{quotes}") from error
    if not len(numbers):
        raise ConfigError(f"grid: {name} has no values")
    return tuple(np.unique(numbers).tolist())


def _range(name: str, written: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    *kind, start, stop, count = written.split(":")
    first, last, points = number(start), number(stop), whole_number(count)
    if not isinstance(points, int) or points < 1 or kind not in ([], ["log"], ["log1m"]):
        raise ValueError
    if points > MAX_CELLS:
        raise ConfigError(f"grid: {name} takes at most {MAX_CELLS:,} values, not {points:,}")
    with np.errstate(all="ignore"):
        if kind == ["log"]:
            return np.geomspace(first, last, points)
        if kind == ["log1m"]:
            return 1 - np.geomspace(1 - first, 1 - last, points)
        return np.linspace(first, last, points)
