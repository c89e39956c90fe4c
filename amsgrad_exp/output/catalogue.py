"""Lists the available optimizers, problems and schedules, and what is recorded, as rows of text."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from amsgrad_exp.attacks.attack_record import Attack
from amsgrad_exp.errors import ConfigError, Refusal
from amsgrad_exp.problems import PROBLEMS, Problem
from amsgrad_exp.records.files import in_use, records
from amsgrad_exp.records.run import read_run
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.schedules import SCHEDULES
from amsgrad_exp.spec.gauntlet import read_plan
from amsgrad_exp.spec.schedule import constants_of
from amsgrad_exp.sweeps.store import open_results

IMPORTED = (
    "import.path",
    "any torch.optim.Optimizer class, or a function that makes one",
    "such as torch.optim.Rprop",
    "",
)

WARMUP = ("…:warmup=W", "before any of them, α_t rises along a straight line from α/W to α at step W", "warmup=0")


def choices(kind: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The column titles and the rows for "optimizers", "problems" or "schedules"; a row begins with a name."""
    rows: list[tuple[str, ...]]
    if kind == "optimizers":
        rows = [(name, known.summary, known.source, defaults(known.options)) for name, known in OPTIMIZERS.items()]
        return ("optimizer", "update", "source", "options"), [*rows, IMPORTED]
    if kind == "problems":
        rows = [(name, first_line(known), known.source, _constants(known)) for name, known in PROBLEMS.items()]
        return ("problem", "losses", "source", "constants"), rows
    rows = [
        (name, first_line(known), " ".join(map(_constant, constants_of(name)[:-1])))
        for name, known in SCHEDULES.items()
    ]
    return ("schedule", "step sizes", "constants"), [*rows, WARMUP]


def defaults(model: type[BaseModel], *only: str) -> str:
    """A model's options or constants with their defaults, and the alternatives of those that are words."""
    fields = {name: field for name, field in model.model_fields.items() if name != "name"}
    fields = {name: field for name, field in fields.items() if name in (only or fields)}
    return " ".join(f"{name}={_default(field)}" for name, field in fields.items())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "…"
    value: Any = field.default
    if typing.get_origin(field.annotation) is Literal:
        others = [other for other in typing.get_args(field.annotation) if other != value]
        return f"{value} (or {', '.join(others)})"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _constants(problem: type[Problem]) -> str:
    """A problem's constants; without limits on x, low and high only define the best point that x is compared with."""
    if "low" not in problem.model_fields:
        return f"{defaults(problem)}, x is not limited"
    if getattr(problem, "interval", None) != (-math.inf, math.inf):
        return defaults(problem)
    ends, others = defaults(problem, "low", "high"), defaults(problem, *(problem.model_fields.keys() - {"low", "high"}))
    return f"{others}, x is not limited; regret is relative to the better of {ends}"


def _constant(field: Field[Any]) -> str:
    return f"{field.name}={'…' if field.default is MISSING else f'{field.default:g}'}"


def first_line(known: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(known) or "").splitlines()[0]


def _run(directory: Path) -> tuple[str, ...]:
    run = read_run(directory)
    result = run.summary.result
    ends = (result.iterate, result.regret_trend) if result else ("", "")
    optimizer = run.trial.optimizer.label or run.summary.optimizer
    return _when(run.summary.started), run.trial.name, optimizer, run.status(), *ends


def _sweep(directory: Path) -> tuple[str, ...]:
    path = directory / "sweep.yaml"
    try:
        sweep = read_plan(path)
    except ConfigError as error:
        raise ConfigError(f"{directory}: {error}") from error
    done = 0
    if (directory / "results.sqlite").is_file():
        with open_results(directory, sweep) as results:
            done = len(results)
    interrupted = "running" if in_use(directory) else "interrupted"
    axes = " × ".join(f"{name} {size}" for name, size in zip(sweep.columns, sweep.shape[1:], strict=True))
    return (
        _when(datetime.fromtimestamp(path.stat().st_mtime, UTC)),
        sweep.name,
        ", ".join(sweep.optimizers),
        axes,
        f"{done:,}/{len(sweep):,}",
        "completed" if done == len(sweep) else interrupted,
    )


def _attack(directory: Path) -> tuple[str, ...]:
    attack = Attack.read(directory)
    started = attack.started or datetime.fromtimestamp((directory / "attack.json").stat().st_mtime, UTC)
    return _when(started), attack.optimizer, f"{attack.problems:,}", attack.outcome


def _when(time: datetime) -> str:
    return f"{time.astimezone():%m-%d %H:%M}"


# For each kind of record: the titles of its list, and a function that makes a row except for the id.
LISTS: Mapping[str, tuple[tuple[str, ...], Callable[[Path], tuple[str, ...]]]] = {
    "run": (("run", "started", "experiment", "optimizer", "status", "iterate", "regret"), _run),
    "sweep": (("sweep", "started", "experiment", "optimizers", "axes", "cells", "status"), _sweep),
    "attack": (("attack", "started", "optimizer", "problems", "outcome"), _attack),
}


def recorded(kind: str, out: Path) -> tuple[tuple[str, ...], list[tuple[str, ...]], list[str]]:
    """The column titles and the rows of the records of a kind, oldest first, and why others cannot be read."""
    titles, row = LISTS[kind]
    rows, unreadable = [], []
    for directory in records(kind, out):
        try:
            rows.append((directory.name[:8], *row(directory)))
        except (Refusal, OSError) as error:
            unreadable.append(str(error))
    return titles, rows, unreadable
