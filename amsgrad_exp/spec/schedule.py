"""Parses schedules written as a name and, after a colon, constants: inv-sqrt:c=0.01,every=10."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from amsgrad_exp.errors import nearest, short
from amsgrad_exp.numbers import after_colon
from amsgrad_exp.schedules import MAX_STEPS, SCHEDULES, Schedule

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial


def written(given: Any) -> Any:
    """The canonical text of a schedule that is given as a text or as a mapping with a name.

    Constants that have their default are left out. A value that is neither a text nor a mapping is returned unchanged.

    Raises:
        ValueError: the schedule is unknown, or a constant is invalid.
    """
    if isinstance(given, str):
        return _canonical(given)[0]
    return _described(*_apart(given))[0] if isinstance(given, Mapping) else given


@functools.lru_cache
def _canonical(text: str) -> tuple[str, int]:
    """The canonical text, and the warm-up: read once, for the many cells of a sweep."""
    return _described(*_apart(text))


def _described(name: str, constants: Mapping[str, Any]) -> tuple[str, int]:
    schedule = _build(name, constants, lr=1.0, steps=MAX_STEPS)
    said = [
        f"{field.name}={getattr(schedule, field.name)!r}"
        for field in constants_of(name)
        if getattr(schedule, field.name) != field.default
    ]
    return ":".join([name, ",".join(said)]) if said else name, schedule.warmup


def kind_of(schedule: str) -> str:
    """The name of a schedule without its constants."""
    return schedule.partition(":")[0]


def constants_of(name: str) -> list[Field[Any]]:
    """The constants of a schedule, ``warmup`` last."""
    own = [field for field in fields(SCHEDULES[name]) if field.name not in ("lr", "steps")]
    return sorted(own, key=lambda field: field.name == "warmup")


def check_length(schedule: str, steps: int) -> None:
    """Check that a schedule's warm-up is shorter than the run.

    Raises:
        ValueError: it is not.
    """
    _, warmup = _canonical(schedule)
    if warmup >= steps:
        raise ValueError(f"warmup of {kind_of(schedule)} must be less than steps ({steps}), not {warmup}")


def schedule_of(trial: Trial) -> Schedule:
    """The schedule of a trial."""
    return _build(*_apart(trial.schedule), lr=trial.optimizer.lr, steps=trial.steps)


def _apart(given: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(given, Mapping):
        if not isinstance(given.get("name"), str):
            raise ValueError(f"a name, or a mapping with a name, is needed, not {short(given)}")
        return given["name"], {str(constant): value for constant, value in given.items() if constant != "name"}
    return after_colon(given)


def _build(name: str, constants: Mapping[str, Any], *, lr: float, steps: int) -> Schedule:
    if name not in SCHEDULES:
        raise ValueError(f"unknown name {name!r}, {nearest(name, SCHEDULES)}")
    known = {field.name: field for field in constants_of(name)}
    for constant in constants:
        if constant not in known:
            raise ValueError(f"{name} takes no {constant}, {nearest(constant, known)}")
    for constant, field in known.items():
        if field.default is MISSING and constant not in constants:
            raise ValueError(f"{name} needs {constant}, such as {name}:{constant}=1000")
    try:
        return SCHEDULES[name](lr=lr, steps=steps, **constants)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        raise ValueError(f"{first['loc'][0]} of {name}: {message}, not {short(first['input'])}") from error
