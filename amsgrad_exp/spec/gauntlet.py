"""Defines a gauntlet: optimizers × problems × step-size schedules × choices of settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from amsgrad_exp.errors import ConfigError, nearest
from amsgrad_exp.numbers import after_colon, option_value, whole_number
from amsgrad_exp.problems import PROBLEMS, Problem
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.defaults import REFERENCE, build_problem, named, published
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import read_yaml, resolve_trial
from amsgrad_exp.spec.schedule import kind_of, written
from amsgrad_exp.spec.sweep import Plan, Values, read_sweep

SETTINGS = ("stated", "defaults")
SHARED = {"steps": 10_000_000, "seeds": 32, "dtype": "float32", "engine": "auto"}
POINTS = 1000  # logged points per cell
CONSTANT_PART = 1 / 200  # α as a part of D; gives the reference experiment's α = 0.01 on an interval of width 2


class Gauntlet(Plan):
    """Optimizers × problems × schedules × settings.

    The settings are either ``stated``, those of the problem's source (`Problem.source_settings`) or else of the
    reference experiment, or ``defaults``, the optimizer's own (`Optimizer.defaults`). Settings in an optimizer's entry
    take precedence over both.

    The data are ``name``, ``optimizers`` and ``problems`` as in an experiment's YAML, ``schedules``, ``settings``,
    ``steps``, ``seeds`` (of a random problem), ``dtype`` and ``engine``.
    """

    curves: ClassVar[bool] = True

    @cached_property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """The names of problems, schedules and choices of settings."""
        schedules, settings = self.data["schedules"], self.data["settings"]
        return {"problem": self.problems, "schedule": tuple(schedules), "settings": tuple(settings)}

    @property
    def problems(self) -> tuple[str, ...]:
        """The names of the problems."""
        return tuple(self.by_name)

    @cached_property
    def by_name(self) -> dict[str, Problem]:
        """The problems."""
        return {problem.name: problem for problem in map(build_problem, self.data["problems"])}

    @property
    def extent(self) -> str:
        """The number of cells, steps and seeds in words."""
        chance = not all(problem.deterministic for problem in self.by_name.values())
        seeds = f"; random problems as means over {self.data['seeds']:,} seeds" if chance else ""
        return f"{len(self):,} cells of {self.data['steps']:,} steps, {self.data['dtype']}{seeds}"

    def at(self, optimizer: str, values: Values) -> Trial:
        """Return the trial of one cell; its schedule has the constants that the problem's source states."""
        problem, schedule, steps = self.by_name[values["problem"]], values["schedule"], self.data["steps"]
        stated = str(problem.source_settings.get("schedule", "constant"))
        return resolve_trial(
            {
                **{key: self.data[key] for key in ("name", "dtype", "engine")},
                "problem": problem,
                "optimizers": [_with_settings(self.entry(optimizer), problem, schedule, values["settings"])],
                "schedule": stated if kind_of(stated) == schedule else schedule,
                "steps": steps,
                "log_every": max(1, steps // POINTS),
                "seeds": 1 if problem.deterministic else self.data["seeds"],
            }
        )

    @classmethod
    def of(cls, **given: Any) -> Gauntlet:
        """Complete and check a gauntlet given by the keys of its YAML.

        ``Gauntlet.of(optimizers=["adam"], steps=1e6)``
        """
        return cls(given).complete().checked()

    def checked(self) -> Gauntlet:
        """Return the gauntlet after building all optimizers on the first problem and the first one on all problems."""
        for cell in range(len(self)):
            optimizer, values = self.values(cell)
            if optimizer == self.optimizers[0] or values["problem"] == self.problems[0]:
                self.at(optimizer, values)
        return self

    def complete(self) -> Gauntlet:
        """Fill in omitted data; the defaults are all optimizers with their variants, all problems and settings."""
        data: dict[str, Any] = {
            "name": "gauntlet",
            "optimizers": [
                entry
                for name, known in OPTIMIZERS.items()
                for entry in (name, *({"name": name, "options": dict(options)} for options in known.variants))
            ],
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
        data["optimizers"] = [
            row(entry) if isinstance(entry, str) else _labelled(named(entry, "optimizers"))
            for entry in data["optimizers"]
        ]
        for key in ("steps", "seeds"):
            data[key] = whole_number(data[key])
            if not isinstance(data[key], int) or data[key] < 1:
                raise ConfigError(f"{key} must be a whole number, at least 1, not {data[key]!r}")
        for name in data["settings"]:
            if name not in SETTINGS:
                raise ConfigError(f"settings: unknown name {name!r}, {nearest(str(name), SETTINGS)}")
        try:
            data["schedules"] = [
                written(given if isinstance(given, str) else named(given, "schedules")) for given in data["schedules"]
            ]
        except ValueError as error:
            raise ConfigError(f"schedules: {error}") from error
        gauntlet = Gauntlet(data)
        problems = [named(entry, "problems")["name"] for entry in data["problems"]]
        for names in (list(gauntlet.optimizers), problems, data["schedules"], data["settings"]):
            for name in names:
                if names.count(name) > 1:
                    raise ConfigError(f"gauntlet: {name} is listed twice")
        return gauntlet


def _with_settings(entry: Mapping[str, Any], problem: Problem, schedule: str, settings: str) -> dict[str, Any]:
    """Add the lr of a cell to an optimizer's entry, and its other settings if they are not the problem's.

    ``stated``: if an optimizer's update grows as the power q of the gradient (`Optimizer.grows`), α is divided by G^q,
    where G is the largest gradient. The largest update of every optimizer is then about α; q = 1 and α = D give
    Zinkevich's α_t = D/(G√t) (2003). If an optimizer's claim is about a constant α, because its updates decrease like
    1/√t by themselves (Adagrad), it gets the α that is used with α/√t.

    ``defaults``: default step sizes are meant to be constant, so decreasing step sizes use the stated α.
    """
    name, options = entry["name"], entry.get("options", {})
    known = OPTIMIZERS.get(name)
    of_itself = known is not None and known.claim.schedule == "constant"
    chosen: dict[str, Any] = {"lr": _step_size(problem, "inv-sqrt" if of_itself else schedule)}
    own: dict[str, Any] = {}
    defaults: Mapping[str, float] = {}
    if known:
        try:
            parsed = known.options.model_validate(options)
        except ValidationError:
            return {**chosen, **entry}  # it is rejected with an explanation when it is completed
        takes = ("lr", *known.rule(parsed).settings)
        defaults = {setting: value for setting, value in known.defaults.items() if setting in takes}
        for setting, power in known.grows(parsed).items():
            (chosen if setting == "lr" else own)[setting] = chosen["lr"] / problem.largest_slope**power
    if settings == "defaults":
        defaults = defaults if known else published(name, options)
        chosen, own = ({**defaults, **chosen} if _slows(schedule) else dict(defaults)), {}
    return {**chosen, **entry, "options": own | options} if own or options else {**chosen, **entry}


def _step_size(problem: Problem, schedule: str) -> float:
    """Return α as the problem's source states it for this schedule; else D for step sizes α/√t or α/t, else D/200.

    D is the width of the interval or, if x is unbounded, the problem's `distance`.
    """
    stated = problem.source_settings
    kind = kind_of(schedule)
    if kind_of(str(stated.get("schedule", "constant"))) == kind and (kind != "constant" or "lr" in stated):
        return float(stated.get("lr", REFERENCE["lr"]))
    low, high = problem.comparators
    far = high - low if math.isfinite(high - low) else problem.distance
    return far if _slows(schedule) else far * CONSTANT_PART


def _slows(schedule: str) -> bool:
    """Whether step sizes fall as α/√t or α/t, for which α may be much larger than a constant step size."""
    return kind_of(schedule) in ("inv-sqrt", "inv")


def _labelled(entry: dict[str, Any]) -> dict[str, Any]:
    """Add a label with the options to an entry that has options but no label."""
    if "label" in entry or not isinstance(options := entry.get("options"), Mapping) or not options:
        return entry
    said = ",".join(
        f"{option}={value if isinstance(value, str) else json.dumps(value)}" for option, value in options.items()
    )
    return {"name": entry["name"], "label": f"{entry['name']}:{said}"} | entry


def row(text: str) -> dict[str, Any]:
    """Parse ``NAME`` or ``NAME:OPTION=VALUE,…`` into an optimizer's entry; the latter form becomes its label."""
    name, texts = after_colon(text, "OPTION=VALUE")
    options = {option: option_value(option, value) for option, value in texts.items()}
    return {"name": name, "label": text, "options": options} if options else {"name": name}


def read_plan(path: Path) -> Plan:
    """Read a sweep or a gauntlet without checking it, so that nothing that it names is imported.

    The key ``problems`` marks a gauntlet.
    """
    data = read_yaml(path)
    return Gauntlet(data).complete() if "problems" in data else read_sweep(path)
