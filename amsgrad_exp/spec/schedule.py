"""Parses schedules written as a name and, after a colon, constants: inv-sqrt:c=0.01,every=10.

An unknown or invalid schedule raises a ValueError.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from amsgrad_exp.errors import complaint, nearest, short
from amsgrad_exp.numbers import after_colon
from amsgrad_exp.schedules import SCHEDULES, Schedule

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial


def written(given: Any) -> Any:
    """Return the canonical text of a schedule, given as a text or as a mapping with a name.

    Constants with their default value are left out. A value that is neither text nor mapping is returned unchanged.
    """
    if isinstance(given, Mapping):
        if not isinstance(name := given.get("name"), str):
            raise ValueError(f"a name, or a mapping with a name, is needed, not {short(given)}")
        constants = {str(constant): value for constant, value in given.items() if constant != "name"}
        return _text(name, _build(name, constants))
    return _text(kind_of(given), _parsed(given)) if isinstance(given, str) else given


def _text(name: str, schedule: Schedule) -> str:
    values = ((field, getattr(schedule, field.name)) for field in constants_of(name))
    said = [f"{field.name}={value!r}" for field, value in values if value != field.default]
    return f"{name}:{','.join(said)}" if said else name


def kind_of(schedule: str) -> str:
    """Return the name of a schedule without its constants."""
    return schedule.partition(":")[0]


def constants_of(name: str) -> list[dataclasses.Field[Any]]:
    """Return the constants of a schedule, with ``warmup`` last."""
    own = [field for field in dataclasses.fields(SCHEDULES[name]) if field.name not in ("lr", "steps")]
    return sorted(own, key=lambda field: field.name == "warmup")


def check_length(schedule: str, steps: int) -> None:
    """Check that a schedule's warm-up is shorter than the run."""
    if (warmup := _parsed(schedule).warmup) >= steps:
        raise ValueError(f"warmup of {kind_of(schedule)} must be less than steps ({steps}), not {warmup}")


def schedule_of(trial: Trial) -> Schedule:
    """Return the schedule of a trial."""
    return dataclasses.replace(_parsed(trial.schedule), lr=trial.optimizer.lr, steps=trial.steps)


@functools.lru_cache  # for the many cells of a sweep
def _parsed(text: str) -> Schedule:
    return _build(*after_colon(text))


def _build(name: str, constants: Mapping[str, Any]) -> Schedule:
    """Build the schedule with α = 1, for a run of any length."""
    if name not in SCHEDULES:
        raise ValueError(f"unknown name {name!r}, {nearest(name, SCHEDULES)}")
    known = {field.name: field for field in constants_of(name)}
    for constant in constants:
        if constant not in known:
            raise ValueError(f"{name} takes no {constant}, {nearest(constant, known)}")
    for constant, field in known.items():
        if field.default is dataclasses.MISSING and constant not in constants:
            raise ValueError(f"{name} needs {constant}, such as {name}:{constant}=1000")
    try:
        return SCHEDULES[name](lr=1.0, **constants)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{first['loc'][0]} of {name}: {complaint(first)}") from error
