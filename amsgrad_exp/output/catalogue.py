"""Lists the available optimizers, problems and schedules as rows of text."""

from __future__ import annotations

import inspect
import typing
from dataclasses import MISSING, Field
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.schedules import SCHEDULES
from amsgrad_exp.spec.schedule import constants_of

IMPORTED = ("import.path", "any torch.optim.Optimizer class, on the torch engine", "such as torch.optim.Rprop", "")

WARMUP = ("…:warmup=W", "before any of them, α_t rises along a straight line from α/W to α at step W", "warmup=0")


def choices(kind: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The column titles and the rows for "optimizers", "problems" or "schedules"; a row begins with a name."""
    rows: list[tuple[str, ...]]
    if kind == "optimizers":
        rows = [(name, known.summary, known.source, defaults(known.options)) for name, known in OPTIMIZERS.items()]
        return ("optimizer", "update", "source", "options"), [*rows, IMPORTED]
    if kind == "problems":
        rows = [(name, first_line(known), known.source, defaults(known)) for name, known in PROBLEMS.items()]
        return ("problem", "losses", "source", "constants"), rows
    rows = [
        (name, first_line(known), " ".join(map(_constant, constants_of(name)[:-1])))
        for name, known in SCHEDULES.items()
    ]
    return ("schedule", "step sizes", "constants"), [*rows, WARMUP]


def defaults(model: type[BaseModel]) -> str:
    """A model's options or constants with their defaults, and the alternatives of those that are words."""
    fields = {name: field for name, field in model.model_fields.items() if name not in ("name", "optimized_update")}
    return " ".join(f"{name}={_default(field)}" for name, field in fields.items())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "…"
    value: Any = field.default
    if typing.get_origin(field.annotation) is Literal:
        others = [other for other in typing.get_args(field.annotation) if other != value]
        return f"{value} (or {', '.join(others)})"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _constant(field: Field[Any]) -> str:
    return f"{field.name}={'…' if field.default is MISSING else f'{field.default:g}'}"


def first_line(known: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(known) or "").splitlines()[0]
