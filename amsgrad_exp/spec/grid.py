"""An experiment over a grid of settings: axes, cells, the experiment of a cell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.experiment import Trial, to_yaml
from amsgrad_exp.spec.explain import nearest
from amsgrad_exp.spec.read import read_experiment, resolve, resolve_trial

LANES = 256
POINTS = 1000  # logged in a cell, unless the experiment says otherwise
MAX_POINTS = 100_000  # logged in a cell: those of all lanes are kept in memory, 24 bytes each
MAX_CELLS = 10_000_000
SETTINGS = ("lr", "beta1", "beta2", "eps")


@dataclass(frozen=True)
class Sweep:
    """An experiment over a grid.

    Attributes:
        data: the experiment, as it is written in YAML.
        grid: for each axis, a setting of the optimizers or a constant of the problem, its values:
            ``start:stop:count``, ``log:start:stop:count`` (evenly spaced in the logarithm), ``log1m:start:stop:count``
            (in the logarithm of one minus the value, for β near 1), or a list.
    """

    data: Mapping[str, Any]
    grid: Mapping[str, Any]

    @cached_property
    def axes(self) -> dict[str, tuple[float, ...]]:
        """The values of each axis, ascending, each once."""
        return {name: _axis(name, values) for name, values in self.grid.items()}

    @cached_property
    def optimizers(self) -> tuple[str, ...]:
        """The names of the optimizers, slowest to vary in the order of cells."""
        return tuple(entry["name"] for entry in self.data["optimizers"])

    def __len__(self) -> int:
        return len(self.optimizers) * math.prod(len(values) for values in self.axes.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """Optimizers, then the axes in order; cells are numbered in C order."""
        return len(self.optimizers), *(len(values) for values in self.axes.values())

    def values(self, cell: int) -> tuple[str, dict[str, float]]:
        """The optimizer of a cell, and its value on each axis."""
        optimizer, *positions = (int(index) for index in np.unravel_index(cell, self.shape))
        values = {name: axis[at] for (name, axis), at in zip(self.axes.items(), positions, strict=True)}
        return self.optimizers[optimizer], values

    def trial(self, cell: int) -> Trial:
        """The trial of one cell.

        Raises:
            ConfigError: there can be no such trial.
        """
        optimizer, values = self.values(cell)
        return self.at(optimizer, values)

    def at(self, optimizer: str, values: Mapping[str, float]) -> Trial:
        """The trial of one optimizer with these values on the axes.

        Raises:
            ConfigError: there can be no such trial.
        """
        settings = {name: value for name, value in values.items() if name in SETTINGS}
        constants = {name: value for name, value in values.items() if name not in SETTINGS}
        (entry,) = (entry for entry in self.data["optimizers"] if entry["name"] == optimizer)
        changed = {"problem": {**self.data["problem"], **constants}, "optimizers": [{**entry, **settings}]}
        return resolve_trial({**self.data, **changed})

    def __reduce__(self) -> tuple[Any, ...]:
        return Sweep, (self.data, self.grid)

    def _try(self, optimizer: str, choices: Sequence[Mapping[str, float]]) -> None:
        """Raise why the first choice cannot be, unless another one can."""
        errors = []
        for values in choices:
            try:
                self.at(optimizer, values)
            except ConfigError as error:
                errors.append(error)
            else:
                return
        raise errors[0]

    def check(self) -> None:
        """Try every optimizer, and every value of every axis with the others at either of their ends.

        Raises:
            ConfigError: a value or a name is impossible.
        """
        kind = PROBLEMS.get(self.data["problem"]["name"])
        known = [*SETTINGS, *(name for name in (kind.model_fields if kind else ()) if name != "name")]
        for name in self.axes:
            if name not in known:
                raise ConfigError(f"grid: unknown setting {name!r}, {nearest(name, known)}")
        if not self.axes:
            raise ConfigError("grid: at least one axis is needed, such as --grid beta2=0.9:0.999:50")
        if len(self) > MAX_CELLS:
            raise ConfigError(f"grid: {len(self):,} cells are more than a sweep takes, {MAX_CELLS:,}")
        corners = [{name: values[at] for name, values in self.axes.items()} for at in (0, -1)]
        experiment = resolve(self.data)
        if experiment.engine == "torch":
            raise ConfigError("engine: a sweep needs the compiled engine, not 'torch'")
        if experiment.seeds > 1:
            raise ConfigError("seeds: a sweep takes one seed a cell")
        if experiment.steps // experiment.log_every > MAX_POINTS:
            raise ConfigError(
                f"log_every {experiment.log_every} is too small for a sweep: take at least "
                f"{-(-experiment.steps // MAX_POINTS)}"
            )
        for optimizer in self.optimizers:
            if optimizer not in OPTIMIZERS:
                raise ConfigError(f"optimizer {optimizer} has no rule, and a sweep needs the compiled engine")
            for name, values in self.axes.items():
                for value in values:
                    self._try(optimizer, [{**corner, name: value} for corner in corners])

    def blocks(self, done: NDArray[np.bool_]) -> Iterator[list[int]]:
        """The cells still to do, in blocks of lanes that can be advanced together and take about as long."""
        keys = []
        cells = np.flatnonzero(~done)
        indices = np.unravel_index(cells, self.shape)
        betas = np.zeros((2, len(cells)))
        for position, (name, values) in enumerate(self.axes.items(), start=1):
            if name in ("beta1", "beta2"):
                betas[("beta1", "beta2").index(name)] = np.array(values)[indices[position]]
            elif name == "period":
                keys.append(indices[position])
        order = np.lexsort((betas.max(axis=0), *keys, indices[0]))
        for begin in range(0, len(order), LANES):
            yield cells[order[begin : begin + LANES]].tolist()

    def to_yaml(self) -> str:
        """The sweep as YAML that `load_sweep` reads back."""
        return to_yaml({**self.data, "grid": dict(self.grid)})


def load_sweep(path: Path | None = None, *, grid: Sequence[str] = (), **given: Any) -> Sweep:
    """Read a sweep: an experiment with a ``grid``; an axis given here replaces the file's.

    Args:
        path: a YAML file, or None for the reference experiment.
        grid: axes as ``NAME=VALUES``.
        given: as for `read_experiment`.

    Raises:
        ConfigError: there can be no such sweep.
    """
    data = read_experiment(path, **given)
    axes = data.pop("grid", None) or {}
    if not isinstance(axes, dict):
        raise ConfigError(f"grid: a mapping of settings to their values is needed, not {axes!r}")
    given_axes: dict[str, str] = {}
    for assignment in grid:
        name, equals, values = assignment.partition("=")
        if not (name and equals):
            raise ConfigError(f"--grid takes NAME=VALUES, not {assignment!r}")
        if name in given_axes:
            raise ConfigError(f"--grid {name} is given twice")
        given_axes[name] = values
    if not isinstance(data.get("optimizers", []), list):
        raise ConfigError(f"optimizers must be a list, not {data['optimizers']!r}")
    steps = resolve(data).steps
    data.setdefault("log_every", max(1, steps // POINTS))
    sweep = Sweep(data, axes | given_axes)
    sweep.check()
    return sweep


def _axis(name: str, values: Any) -> tuple[float, ...]:
    try:
        if isinstance(values, str) and ":" in values:
            *kind, start, stop, count = values.split(":")
            first, last, number = float(start), float(stop), int(count)
            if number < 1 or kind not in ([], ["log"], ["log1m"]):
                raise ValueError
            if number > MAX_CELLS:
                raise ConfigError(f"grid: {name} takes at most {MAX_CELLS:,} values, not {number:,}")
            with np.errstate(all="ignore"):
                if kind == ["log"]:
                    numbers = np.geomspace(first, last, number)
                elif kind == ["log1m"]:
                    numbers = 1 - np.geomspace(1 - first, 1 - last, number)
                else:
                    numbers = np.linspace(first, last, number)
        else:
            numbers = np.array([float(value) for value in (values.split(",") if isinstance(values, str) else values)])
        if not np.all(np.isfinite(numbers)):
            raise ValueError
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"grid: {name} takes start:stop:count, log:start:stop:count, log1m:start:stop:count or a list, "
            f"not {values!r}{'' if isinstance(values, str | list) else ' (in YAML, write it in quotes)'}"
        ) from error
    if not len(numbers):
        raise ConfigError(f"grid: {name} has no values")
    return tuple(np.unique(numbers).tolist())
