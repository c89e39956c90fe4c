"""Defines plans, grids of optimizers × axes whose numbered cells are trials, and a sweep, whose axes are numbers.

The axes of a sweep are settings, options and constants of the problem.
"""

from __future__ import annotations

import contextlib
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeVar

import numpy as np

from amsgrad_exp.errors import ConfigError, nearest
from amsgrad_exp.numbers import assigned, dump, number, whole_number
from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.rules import OPTIMIZERS, rule_of
from amsgrad_exp.spec.defaults import check_name, named, option_types
from amsgrad_exp.spec.experiment import Experiment, Trial
from amsgrad_exp.spec.labels import labels
from amsgrad_exp.spec.read import SETTINGS, read_experiment, resolve, resolve_trial, with_settings

POINTS = 1000  # logged points per cell by default
MAX_POINTS = 100_000  # most logged points per cell; those of a whole batch are held in memory, 24 bytes each
NUMBERS = (int, float)
MAX_CELLS = 10_000_000
FORMS = "start:stop:count, log:start:stop:count, log1m:start:stop:count or a list"

Values = Mapping[str, Any]
"""The value on each axis, by name: numbers in a sweep, names in a gauntlet."""

Built = TypeVar("Built")


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

    def example_of(self, optimizer: str) -> Trial:
        """Return a valid trial of an optimizer."""
        return _first_possible(functools.partial(self.at, optimizer), self.edges())

    def pairs(self, *names: str) -> Iterator[list[Values]]:
        """For every value of these axes (default: all), yield the points with the other axes at either end."""
        corners = [{name: values[at] for name, values in self.axes.items()} for at in (0, -1)]
        for name in names or self.axes:
            for value in self.axes[name]:
                yield [{**corner, name: value} for corner in corners]

    def edges(self) -> Iterator[Values]:
        """Yield the points of all `pairs`."""
        return (values for pair in self.pairs() for values in pair)

    def entry(self, optimizer: str) -> dict[str, Any]:
        """Return an optimizer's entry as in YAML, by its name in `optimizers`."""
        return dict(self.data["optimizers"][self.optimizers.index(optimizer)])

    def to_yaml(self) -> str:
        """Write YAML that `read_plan` reads."""
        return dump(self.data)

    def __reduce__(self) -> tuple[Any, ...]:  # without cached properties
        return type(self), (self.data,)


class Target(NamedTuple):
    """The target of an axis: a setting of the optimizers, one of their own options, or a constant of the problem."""

    of: Literal["settings", "options", "problem"]
    name: str
    kind: Any  # int for integers, float, or another type that cannot be an axis


class Sweep(Plan):
    """An experiment over a grid: its YAML and ``grid``, the values of each axis in a form that `axis_values` reads."""

    curves: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return str(self.data.get("name", Experiment.model_fields["name"].default))

    @cached_property
    def axes(self) -> dict[str, tuple[float, ...]]:
        """The values of each axis, ascending and without duplicates."""
        return {name: axis_values(name, written) for name, written in self.data["grid"].items()}

    @cached_property
    def optimizers(self) -> tuple[str, ...]:
        """The optimizers' names, or their labels if names are not unique."""
        names = super().optimizers
        return names if len(set(names)) == len(names) else tuple(labels(self.example.trials()))

    @cached_property
    def _known(self) -> dict[str, Target]:
        """Everything that can be set, numbers or not, by the name that an axis for it has.

        If an option and a constant have the same name n, they are called ``options.n`` and ``problem.n``.
        """
        problem = self.data["problem"]["name"]
        fields: Mapping[str, Any] = PROBLEMS[problem].model_fields if problem in PROBLEMS else {}
        constants = {name: Target("problem", name, it.annotation) for name, it in fields.items() if name != "name"}
        options = {
            name: Target("options", name, kind)
            for entry in self.data["optimizers"]
            for name, kind in option_types(entry["name"]).items()
        }
        shared = constants.keys() & options.keys()
        found = {name: Target("settings", name, float) for name in SETTINGS} | constants | options
        paths = {f"{of[name].of}.{name}": of[name] for of in (constants, options) for name in shared}
        return {name: target for name, target in found.items() if name not in shared} | paths

    @cached_property
    def targets(self) -> dict[str, Target]:
        """The setting, option or constant that each axis sets."""
        return {name: self._known[name] for name in self.axes}

    @cached_property
    def example(self) -> Experiment:
        """The experiment at a valid point of the grid, which shows what all points share."""
        entries = self.data["optimizers"]
        return _first_possible(lambda values: resolve(self._with(entries, values)), self.edges())

    def at(self, optimizer: str, values: Values) -> Trial:
        return resolve_trial(self._with([self.entry(optimizer)], values))

    def representatives(self, points: Iterable[Values] | None = None) -> Iterator[Trial]:
        """Yield the valid trials at some points; by default, at all values of each axis, others at either end."""
        for values in self.edges() if points is None else points:
            with contextlib.suppress(ConfigError):
                yield self.at(self.optimizers[0], values)

    def _with(self, optimizers: Sequence[Mapping[str, Any]], values: Values) -> dict[str, Any]:
        """Return the experiment as in YAML, with these values on the axes."""
        given: dict[str, dict[str, Any]] = {"settings": {}, "options": {}, "problem": {}}
        for axis, value in values.items():
            target = self.targets[axis]
            given[target.of][target.name] = int(value) if target.kind is int and value.is_integer() else value
        settings = given["settings"] | ({"options": given["options"]} if given["options"] else {})
        entries = [with_settings(entry, settings) for entry in optimizers]
        return {**self._shared, "problem": {**self.data["problem"], **given["problem"]}, "optimizers": entries}

    @cached_property
    def _shared(self) -> dict[str, Any]:
        return {key: value for key, value in self.data.items() if key != "grid"}

    @classmethod
    def of(cls, grid: Mapping[str, Any], **experiment: Any) -> Sweep:
        """Complete and check a sweep, given by its grid and the keys of the experiment's YAML.

        ``Sweep.of({"beta2": "0.9:0.999:50"}, optimizers=["adam"], steps=1e6)``
        """
        entries = [named(entry, "optimizers") for entry in experiment.get("optimizers", ["adam", "amsgrad"])]
        problem = named(experiment.get("problem", "online"), "problem")
        return cls({**experiment, "problem": problem, "optimizers": entries, "grid": grid}).checked()

    def checked(self) -> Sweep:
        """Check the sweep and return it with a default for log_every.

        Trials are built for every optimizer and every value of every axis, with the other axes at their ends.
        """
        for entry in self.data["optimizers"]:
            check_name(entry["name"])
        for name in self.data["grid"]:
            self._check_target(name)
        if not self.axes:
            raise ConfigError("grid: at least one axis is needed, such as --grid beta2=0.9:0.999:50")
        if len(self) > MAX_CELLS:
            raise ConfigError(f"grid: a sweep has at most {MAX_CELLS:,} cells, not {len(self):,}")
        sweep, steps = self, self.example.steps
        if "log_every" not in self.data:
            grid = {"log_every": max(1, steps // POINTS), "grid": self.data["grid"]}
            sweep = Sweep(self._shared | grid)
        if sweep.example.seeds > 1:
            raise ConfigError("seeds: a sweep has one seed per cell")
        if steps // sweep.example.log_every > MAX_POINTS:
            raise ConfigError(
                f"log_every {sweep.example.log_every} is too small for a sweep: use at least {-(-steps // MAX_POINTS)}"
            )
        for optimizer in sweep.optimizers:
            for pair in sweep.pairs():
                _first_possible(functools.partial(sweep.at, optimizer), pair)
        return sweep

    def _check_target(self, name: str) -> None:
        """Check that an axis sets a number that the problem or all of the optimizers have."""
        if f"options.{name}" in self._known:
            raise ConfigError(
                f"grid: {name} is an option and a constant of {self.data['problem']['name']}: "
                f"write options.{name} or problem.{name}"
            )
        target = self._known.get(name)
        if target is None:
            numbers = [name for name, target in self._known.items() if target.kind in NUMBERS]
            raise ConfigError(f"grid: unknown setting {name!r}, {nearest(name, numbers)}")
        if target.kind not in NUMBERS:
            raise ConfigError(f"grid: {name} is not a number, so it cannot be an axis")
        for optimizer in (entry["name"] for entry in self.data["optimizers"] if target.of == "options"):
            if target.name not in option_types(optimizer):
                raise ConfigError(
                    f"grid: {optimizer} takes no {target.name}, so it cannot be an axis of a sweep with it"
                )

    @cached_property
    def parting_axes(self) -> list[str]:
        """The axes along which the rule or the problem's period changes, so that the runs cannot share a batch."""

        def parts(points: Iterable[Values]) -> bool:
            compiled = (trial for trial in self.representatives(points) if trial.optimizer.name in OPTIMIZERS)
            return len({(rule_of(trial.optimizer), trial.problem.steps_per_period) for trial in compiled}) > 1

        whole = [name for name, target in self.targets.items() if target.kind is int]
        return [name for name in whole if any(map(parts, zip(*self.pairs(name), strict=True)))]


def load_sweep(path: Path | None = None, *, grid: Sequence[str] = (), **given: Any) -> Sweep:
    """Read, complete and check a sweep; the arguments are as in `read_sweep`."""
    return read_sweep(path, grid=grid, **given).checked()


def read_sweep(path: Path | None = None, *, grid: Sequence[str] = (), **given: Any) -> Sweep:
    """Read a sweep from what `read_experiment` reads, and from axes as ``NAME=VALUES``, which replace the file's."""
    data = read_experiment(path, **given)
    axes = data.pop("grid", None) or {}
    if not isinstance(axes, dict) or not all(isinstance(name, str) for name in axes):
        raise ConfigError(f"grid: a mapping of settings to their values is needed, not {axes!r}")
    if not isinstance(data.get("optimizers", []), list):
        raise ConfigError(f"optimizers must be a list, not {data['optimizers']!r}")
    return Sweep(data | {"grid": axes | assigned(grid, "--grid", "NAME=VALUES")})


def _first_possible(build: Callable[[Values], Built], points: Iterable[Values]) -> Built:
    """Build the first valid point; if none is valid, raise the error of the first."""
    errors = []
    for values in points:
        try:
            return build(values)
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


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
