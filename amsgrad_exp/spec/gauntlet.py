"""Defines a gauntlet: optimizers × problems × step-size schedules × choices of settings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp import engines
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.numbers import dump, whole_number
from amsgrad_exp.problems import PROBLEMS, Problem
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.assignments import after_colon
from amsgrad_exp.spec.cell_settings import SETTINGS, with_settings
from amsgrad_exp.spec.complete import build_problem, named
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.explain import nearest
from amsgrad_exp.spec.read import option_value, read_yaml, resolve_trial
from amsgrad_exp.spec.schedule import kind_of, written

SHARED = {"steps": 10_000_000, "seeds": 32, "dtype": "float32", "engine": "auto"}
POINTS = 1000  # logged per cell
ROWS = 15  # optimizers whose cells on deterministic problems form one block


@dataclass(frozen=True)
class Gauntlet:
    """Optimizers × problems × schedules × settings.

    The settings are ``stated``, those of the problem's source (`Problem.natural_settings`) or else of the reference
    experiment, or ``defaults``, the optimizer's own (`Optimizer.defaults`). Settings in an optimizer's entry take
    precedence over both. `spec.cell_settings` chooses the step sizes.

    Attributes:
        data: ``name``, ``optimizers`` and ``problems`` as in an experiment's YAML, ``schedules``, ``settings``, and
            ``steps``, ``seeds`` (of a random problem), ``dtype`` and ``engine``.
    """

    data: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return str(self.data["name"])

    @property
    def columns(self) -> dict[str, str]:
        """The columns that distinguish the cells of an optimizer."""
        return dict.fromkeys(("problem", "schedule", "settings"), "TEXT")

    @property
    def averaged(self) -> bool:
        """True, because cells of random problems are means over seeds."""
        return True

    @property
    def keeps_points(self) -> bool:
        """True, because the page shows each cell's curve."""
        return True

    @property
    def settings(self) -> dict[str, Any]:
        """All of its data."""
        return dict(self.data)

    @cached_property
    def optimizers(self) -> tuple[str, ...]:
        """The optimizers' labels, or their names without a label."""
        return tuple(str(entry.get("label", entry["name"])) for entry in self.data["optimizers"])

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """The names of the problems."""
        return tuple(self._problems)

    @cached_property
    def _problems(self) -> dict[str, Problem]:
        return {problem.name: problem for problem in map(build_problem, self.data["problems"])}

    @property
    def shape(self) -> tuple[int, ...]:
        """Optimizers, problems, schedules and settings; cells are numbered in C order."""
        return len(self.optimizers), len(self.problems), len(self.data["schedules"]), len(self.data["settings"])

    def __len__(self) -> int:
        return math.prod(self.shape)

    @property
    def extent(self) -> str:
        """The number of cells, steps and seeds in words."""
        chance = not all(problem.deterministic for problem in self._problems.values())
        seeds = f"; random problems as means over {self.data['seeds']:,} seeds" if chance else ""
        return f"{len(self):,} cells of {self.data['steps']:,} steps, {self.data['dtype']}{seeds}"

    def values(self, cell: int) -> tuple[str, dict[str, str]]:
        """The optimizer of a cell, and its problem, schedule and choice of settings."""
        optimizer, problem, schedule, settings = (int(index) for index in np.unravel_index(cell, self.shape))
        return self.optimizers[optimizer], {
            "problem": self.problems[problem],
            "schedule": self.data["schedules"][schedule],
            "settings": self.data["settings"][settings],
        }

    def trial(self, cell: int) -> Trial:
        """The trial of one cell, with the schedule's constants that the problem's source states.

        Raises:
            ConfigError: the trial is invalid.
        """
        label, values = self.values(cell)
        problem = self._problems[values["problem"]]
        entry = dict(self.data["optimizers"][self.optimizers.index(label)])
        natural = str(problem.natural_settings.get("schedule", "constant"))
        steps = self.data["steps"]
        return resolve_trial(
            {
                **{key: value for key, value in self.data.items() if key in ("name", "dtype", "engine")},
                "problem": problem,
                "optimizers": [with_settings(entry, problem, values["schedule"], values["settings"])],
                "schedule": natural if kind_of(natural) == values["schedule"] else values["schedule"],
                "steps": steps,
                "log_every": max(1, steps // POINTS),
                "seeds": 1 if problem.deterministic else self.data["seeds"],
            }
        )

    def blocks(self, done: NDArray[np.bool_]) -> Iterator[list[int]]:
        """The unfinished cells in blocks.

        Cells of the same random problem form a block, because they share its random numbers; then the cells of several
        optimizers on all other problems. Imported optimizers are slow: their cells form a block of their own, or one
        with the cells that can run as elements of the same parameter.
        """
        todo = np.flatnonzero(~done)
        optimizer, problem, *_ = np.unravel_index(todo, self.shape)
        foreign = np.array([entry["name"] not in OPTIMIZERS for entry in self.data["optimizers"]])[optimizer]
        drawn = np.array([not self._problems[name].deterministic for name in self.problems])[problem]
        for number in range(len(self.problems)):
            if len(block := todo[~foreign & drawn & (problem == number)]):
                yield block.tolist()
        for first in range(0, len(self.optimizers), ROWS):
            if len(block := todo[~foreign & ~drawn & (optimizer // ROWS == first // ROWS)]):
                yield block.tolist()
        parts: dict[Any, list[int]] = {}
        for cell in todo[foreign].tolist():
            parts.setdefault(self._part(cell), []).append(cell)
        yield from parts.values()

    def _part(self, cell: int) -> Any:
        """What a cell of an imported optimizer has in common with those that it is computed with."""
        try:
            trial = self.trial(cell)
            return (trial.optimizer.name,) if trial.seeds == 1 and engines.compiles(trial) else cell
        except ConfigError:
            return cell

    def __reduce__(self) -> tuple[Any, ...]:
        return Gauntlet, (self.data,)

    def to_yaml(self) -> str:
        """YAML that `spec.kinds.load_cells` reads."""
        return dump(self.data)

    @classmethod
    def of(cls, **given: Any) -> Gauntlet:
        """Complete and check a gauntlet given by the keys of its YAML: ``Gauntlet.of(optimizers=["adam"], steps=1e6)``.

        Raises:
            ConfigError: it is invalid.
        """
        gauntlet = cls(given).complete()
        gauntlet.check()
        return gauntlet

    def complete(self) -> Gauntlet:
        """Fill in what is left out: by default all optimizers, problems and settings.

        Raises:
            ConfigError: the gauntlet is malformed.
        """
        data: dict[str, Any] = {
            "name": "gauntlet",
            "optimizers": rows(),
            "problems": [name for name in PROBLEMS if name != "cycle"],  # has no default slopes
            "schedules": ["constant", "inv-sqrt"],
            "settings": list(SETTINGS),
            **SHARED,
        }
        for key, value in self.data.items():
            if key not in data:
                raise ConfigError(f"gauntlet: unknown key {key!r}, {nearest(key, data)}")
            if isinstance(data[key], list) and not (isinstance(value, list) and value):
                raise ConfigError(f"{key}: a list is needed, not {value!r}")
            data[key] = value
        entries = [
            row(entry) if isinstance(entry, str) else _labelled(named(entry, "optimizers"))
            for entry in data["optimizers"]
        ]
        data["optimizers"] = entries
        for key in ("steps", "seeds"):
            data[key] = whole_number(data[key])
            if not isinstance(data[key], int) or data[key] < 1:
                raise ConfigError(f"{key} must be a whole number, at least 1, not {data[key]!r}")
        gauntlet = Gauntlet(data)
        for name in data["settings"]:
            if name not in SETTINGS:
                raise ConfigError(f"settings: unknown name {name!r}, {nearest(str(name), SETTINGS)}")
        try:
            data["schedules"] = [
                written(given if isinstance(given, str) else named(given, "schedules")) for given in data["schedules"]
            ]
        except ValueError as error:
            raise ConfigError(f"schedules: {error}") from error
        problems = [named(entry, "problems")["name"] for entry in data["problems"]]
        for names in (list(gauntlet.optimizers), problems, data["schedules"], data["settings"]):
            for name in names:
                if names.count(name) > 1:
                    raise ConfigError(f"gauntlet: {name} is listed twice")
        return gauntlet

    def shared_between(self) -> dict[str, str | None]:
        """What each optimizer ties together, as `engines.shared_between`, with its settings on the first problem."""
        first = np.arange(len(self)).reshape(self.shape)[:, 0, 0, 0].tolist()
        tied = [engines.shared_between(self.trial(cell)) for cell in first]
        return dict(zip(self.optimizers, tied, strict=True))

    def check(self) -> None:
        """Build the trials of every optimizer on the first problem, and of the first optimizer on every problem.

        Raises:
            ConfigError: a trial is invalid.
        """
        cells = np.arange(len(self)).reshape(self.shape)
        for cell in sorted({*cells[:, 0].flat, *cells[0].flat}):
            self.trial(int(cell))
        for entry, cell in zip(self.data["optimizers"], cells[:, 0, 0, 0].tolist(), strict=True):
            if entry["name"] not in OPTIMIZERS:
                engines.build(
                    self.trial(cell).model_copy(update={"seeds": 1})
                )  # not every optimizer supports many seeds


def load_gauntlet(path: Path | None = None, **given: Any) -> Gauntlet:
    """Read, complete and check a gauntlet; arguments that are not None replace the file's keys.

    Raises:
        ConfigError: the file cannot be read, or the gauntlet is invalid.
    """
    data = read_yaml(path) if path else {}
    return Gauntlet.of(**data | {key: value for key, value in given.items() if value is not None})


def rows() -> list[dict[str, Any]]:
    """An entry for every registered optimizer and each of its published variants."""
    entries = []
    for name, optimizer in OPTIMIZERS.items():
        entries.append(row(name))
        entries += [_labelled({"name": name, "options": dict(options)}) for options in optimizer.variants]
    return entries


def _labelled(entry: dict[str, Any]) -> dict[str, Any]:
    """Add a label with the options to an entry that has options but no label."""
    if "label" in entry or not isinstance(options := entry.get("options"), Mapping) or not options:
        return entry
    said = ",".join(
        f"{option}={value if isinstance(value, str) else json.dumps(value)}" for option, value in options.items()
    )
    return {"name": entry["name"], "label": f"{entry['name']}:{said}"} | entry


def row(written: str) -> dict[str, Any]:
    """An optimizer's entry from ``NAME`` or ``NAME:OPTION=VALUE,…``; the latter becomes its label.

    Raises:
        ConfigError: it has neither form.
    """
    name, texts = after_colon(written, "OPTION=VALUE")
    options = {option: option_value(option, text) for option, text in texts.items()}
    return {"name": name, "label": written, "options": options} if options else {"name": name}
