"""Defines a sweep: an experiment over a grid of settings, options and constants of the problem."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from amsgrad_exp.errors import ConfigError, nearest
from amsgrad_exp.numbers import assigned
from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.rules import OPTIMIZERS, rule_of
from amsgrad_exp.spec.defaults import check_name, named, number_options
from amsgrad_exp.spec.experiment import Experiment, Trial
from amsgrad_exp.spec.labels import labels
from amsgrad_exp.spec.plan import MAX_CELLS, Plan, Values, axis_values
from amsgrad_exp.spec.read import SETTINGS, read_experiment, resolve, resolve_trial, with_settings

POINTS = 1000  # logged points per cell by default
MAX_POINTS = 100_000  # most logged points per cell; those of a whole batch are held in memory, 24 bytes each
NUMBERS = (int, float)

Built = TypeVar("Built")


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
            for name, kind in _options(entry["name"]).items()
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
        return _first_possible(lambda values: resolve(self._with(entries, values)), self._edges())

    def at(self, optimizer: str, values: Values) -> Trial:
        return resolve_trial(self._with([self.entry(optimizer)], values))

    def example_of(self, optimizer: str) -> Trial:
        return _first_possible(functools.partial(self.at, optimizer), self._edges())

    def representatives(self, points: Iterable[Values] | None = None) -> Iterator[Trial]:
        """Yield the valid trials at some points; by default, at all values of each axis, others at either end."""
        for values in self._edges() if points is None else points:
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
        """The experiment without its grid."""
        return {key: value for key, value in self.data.items() if key != "grid"}

    def _pairs(self, *names: str) -> Iterator[list[Values]]:
        """For every value of these axes (default: all), yield the points with the other axes at either end."""
        corners = [{name: values[at] for name, values in self.axes.items()} for at in (0, -1)]
        for name in names or self.axes:
            for value in self.axes[name]:
                yield [{**corner, name: value} for corner in corners]

    def _edges(self) -> Iterator[Values]:
        return (values for pair in self._pairs() for values in pair)

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
            for pair in sweep._pairs():
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
            if target.name not in _options(optimizer):
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
        return [name for name in whole if any(map(parts, zip(*self._pairs(name), strict=True)))]


def _options(optimizer: str) -> dict[str, Any]:
    """Return the options of an optimizer and their types."""
    if optimizer in OPTIMIZERS:
        return {name: it.annotation for name, it in OPTIMIZERS[optimizer].options.model_fields.items()}
    return number_options(optimizer)


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
