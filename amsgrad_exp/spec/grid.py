"""Defines a sweep: an experiment over a grid of settings."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.numbers import dump
from amsgrad_exp.rules import OPTIMIZERS, rule_of
from amsgrad_exp.spec.assignments import assigned
from amsgrad_exp.spec.axis import MAX_CELLS, Target, axis_values, check_target, targets
from amsgrad_exp.spec.blocks import blocks
from amsgrad_exp.spec.complete import check_name, named
from amsgrad_exp.spec.experiment import Experiment, Trial
from amsgrad_exp.spec.labels import labels
from amsgrad_exp.spec.read import read_experiment, resolve, resolve_trial, with_settings

POINTS = 1000  # logged per cell by default
MAX_POINTS = 100_000  # logged per cell: those of a whole batch are held in memory, 24 bytes each

Values = Mapping[str, float]
"""The value on each axis, by name."""

Built = TypeVar("Built")


@dataclass(frozen=True)
class Sweep:
    """An experiment over a grid.

    Attributes:
        data: the experiment as in YAML.
        grid: the values of each axis, in a form that `axis_values` reads. An axis is a setting or an option of the
            optimizers or a constant of the problem.
    """

    data: Mapping[str, Any]
    grid: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of the experiment and of the sweep's folder."""
        return str(self.data.get("name", Experiment.model_fields["name"].default))

    @cached_property
    def axes(self) -> dict[str, tuple[float, ...]]:
        """The values of each axis, ascending and without duplicates."""
        return {name: axis_values(name, written) for name, written in self.grid.items()}

    @property
    def columns(self) -> dict[str, str]:
        """The axes as columns of numbers."""
        return dict.fromkeys(self.axes, "REAL")

    @property
    def averaged(self) -> bool:
        """False, because a sweep has one seed per cell."""
        return False

    @property
    def keeps_points(self) -> bool:
        """False, because a sweep has thousands of cells and shows no curves."""
        return False

    @property
    def settings(self) -> dict[str, Any]:
        """The experiment and its grid."""
        return {**self.data, "grid": dict(self.grid)}

    @cached_property
    def targets(self) -> dict[str, Target]:
        """The setting, option or constant that each axis sets."""
        known = targets(self.data["problem"]["name"], [entry["name"] for entry in self.data["optimizers"]])
        return {name: known[name] for name in self.axes}

    @cached_property
    def example(self) -> Experiment:
        """The experiment at a valid point of the grid, for what all points share.

        Raises:
            ConfigError: no point that was tried is valid.
        """

        def build(values: Values) -> Experiment:
            return resolve(self._at(self.data["optimizers"], values))

        return _first_possible(build, (values for pair in self._pairs() for values in pair))

    @cached_property
    def optimizers(self) -> tuple[str, ...]:
        """The optimizers' names, or their labels if names are not unique."""
        names = [str(entry.get("label") or entry["name"]) for entry in self.data["optimizers"]]
        return tuple(names if len(set(names)) == len(names) else labels(self.example.trials()))

    def __len__(self) -> int:
        return math.prod(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of optimizers, then of values on each axis; cells are numbered in C order."""
        return len(self.data["optimizers"]), *(len(values) for values in self.axes.values())

    def values(self, cell: int) -> tuple[str, dict[str, float]]:
        """The optimizer of a cell and its values on the axes."""
        optimizer, *positions = (int(index) for index in np.unravel_index(cell, self.shape))
        values = {name: axis[at] for (name, axis), at in zip(self.axes.items(), positions, strict=True)}
        return self.optimizers[optimizer], values

    def trial(self, cell: int) -> Trial:
        """The trial of one cell.

        Raises:
            ConfigError: the trial is invalid.
        """
        optimizer, values = self.values(cell)
        return self.at(optimizer, values)

    def at(self, optimizer: str, values: Values) -> Trial:
        """The trial of one optimizer with these values on the axes.

        Raises:
            ConfigError: the trial is invalid.
        """
        entry = self.data["optimizers"][self.optimizers.index(optimizer)]
        return resolve_trial(self._at([entry], values))

    def representatives(self) -> Iterator[Trial]:
        """Valid trials that represent all: for every value of every axis, with the other axes at their ends."""
        return self._possible(values for pair in self._pairs() for values in pair)

    def _possible(self, points: Iterable[Values]) -> Iterator[Trial]:
        for values in points:
            with contextlib.suppress(ConfigError):
                yield self.at(self.optimizers[0], values)

    def _at(self, optimizers: Sequence[Mapping[str, Any]], values: Values) -> dict[str, Any]:
        given: dict[str, dict[str, Any]] = {"settings": {}, "options": {}, "problem": {}}
        for axis, value in values.items():
            target = self.targets[axis]
            given[target.of][target.name] = int(value) if target.kind is int and value.is_integer() else value
        settings = given["settings"] | ({"options": given["options"]} if given["options"] else {})
        entries = [with_settings(entry, settings) for entry in optimizers]
        return {**self.data, "problem": {**self.data["problem"], **given["problem"]}, "optimizers": entries}

    def _pairs(self, *names: str) -> Iterator[list[Values]]:
        """For every value of these axes (default: all), the points with the other axes at their first or last value."""
        corners = [{name: values[at] for name, values in self.axes.items()} for at in (0, -1)]
        for name in names or self.axes:
            for value in self.axes[name]:
                yield [{**corner, name: value} for corner in corners]

    def __reduce__(self) -> tuple[Any, ...]:
        return Sweep, (self.data, self.grid)

    @classmethod
    def of(cls, grid: Mapping[str, Any], **experiment: Any) -> Sweep:
        """Complete and check a sweep, given by its grid and the keys of the experiment's YAML.

        ``Sweep.of({"beta2": "0.9:0.999:50"}, optimizers=["adam"], steps=1e6)``

        Raises:
            ConfigError: it is invalid.
        """
        entries = [named(entry, "optimizers") for entry in experiment.get("optimizers", ["adam", "amsgrad"])]
        problem = named(experiment.get("problem", "online"), "problem")
        return cls({**experiment, "problem": problem, "optimizers": entries}, grid).complete()

    def complete(self) -> Sweep:
        """The same sweep, checked, with a default for log_every.

        Raises:
            ConfigError: it is invalid.
        """
        self.check_axes()
        if "log_every" in self.data:
            self.check()
            return self
        sweep = Sweep({**self.data, "log_every": max(1, self.example.steps // POINTS)}, self.grid)
        sweep.check()
        return sweep

    def check_axes(self) -> None:
        """Check the optimizers' names, the names of the axes, and the number of cells.

        Raises:
            ConfigError: a name is unknown, or there are no axes or too many cells.
        """
        optimizers = [entry["name"] for entry in self.data["optimizers"]]
        for optimizer in optimizers:
            check_name(optimizer)
        for name in self.grid:
            check_target(name, self.data["problem"]["name"], optimizers)
        if not self.axes:
            raise ConfigError("grid: at least one axis is needed, such as --grid beta2=0.9:0.999:50")
        if len(self) > MAX_CELLS:
            raise ConfigError(f"grid: a sweep has at most {MAX_CELLS:,} cells, not {len(self):,}")

    def check(self) -> None:
        """Build trials for every optimizer and every value of every axis, with the other axes at their ends.

        Raises:
            ConfigError: a value or a name is invalid, or an optimizer is not deterministic.
        """
        self.check_axes()
        if self.example.seeds > 1:
            raise ConfigError("seeds: a sweep has one seed per cell")
        if self.example.steps // self.example.log_every > MAX_POINTS:
            raise ConfigError(
                f"log_every {self.example.log_every} is too small for a sweep: use at least "
                f"{-(-self.example.steps // MAX_POINTS)}"
            )
        for optimizer in self.optimizers:
            trials = [_first_possible(functools.partial(self.at, optimizer), pair) for pair in self._pairs()]
            if trials[0].optimizer.name not in OPTIMIZERS:
                from amsgrad_exp.engines.recorded.held import require_deterministic

                with contextlib.suppress(RunFailed):  # which cells of the sweep say
                    require_deterministic(trials[0].optimizer)

    @cached_property
    def parting_axes(self) -> list[str]:
        """The axes along which the rule or the problem's period changes, so that the runs cannot share a batch."""
        whole = [name for name, target in self.targets.items() if target.kind is int]
        return [name for name in whole if any(map(self._part, zip(*self._pairs(name), strict=True)))]

    def _part(self, points: Iterable[Values]) -> bool:
        trials = self._possible(points)
        compiled = (trial for trial in trials if trial.optimizer.name in OPTIMIZERS)
        return len({(rule_of(trial.optimizer), trial.problem.steps_per_period) for trial in compiled}) > 1

    def blocks(self, done: NDArray[np.bool_]) -> Iterator[list[int]]:
        """The unfinished cells in blocks; see `spec.blocks`."""
        return blocks(self, done)

    def to_yaml(self) -> str:
        """YAML that `load_sweep` reads."""
        return dump(self.settings)


def load_sweep(path: Path | None = None, *, grid: Sequence[str] = (), **given: Any) -> Sweep:
    """Read, complete and check a sweep, an experiment with a ``grid``.

    Args:
        path: a YAML file, or None for the reference experiment.
        grid: axes as ``NAME=VALUES``; they replace those of the file.
        given: as in `read_experiment`.

    Raises:
        ConfigError: the sweep is invalid.
    """
    sweep = read_grid(path, grid=grid, **given)
    return sweep.complete()


def read_grid(path: Path | None = None, *, grid: Sequence[str] = (), **given: Any) -> Sweep:
    """Read a sweep without completing or checking it; arguments as in `load_sweep`.

    Raises:
        ConfigError: the sweep is malformed.
    """
    data = read_experiment(path, **given)
    axes = data.pop("grid", None) or {}
    if not isinstance(axes, dict) or not all(isinstance(name, str) for name in axes):
        raise ConfigError(f"grid: a mapping of settings to their values is needed, not {axes!r}")
    if not isinstance(data.get("optimizers", []), list):
        raise ConfigError(f"optimizers must be a list, not {data['optimizers']!r}")
    return Sweep(data, axes | assigned(grid, "--grid", "NAME=VALUES"))


def _first_possible(build: Callable[[Values], Built], points: Iterable[Values]) -> Built:
    """Build the first valid point; if none is valid, raise the error of the first."""
    errors = []
    for values in points:
        try:
            return build(values)
        except ConfigError as error:
            errors.append(error)
    raise errors[0]
