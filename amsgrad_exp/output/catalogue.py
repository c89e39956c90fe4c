"""Lists the available optimizers, problems and schedules as rows of text."""

from __future__ import annotations

import inspect
import typing
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.schedules import SCHEDULES

IMPORTED = ("import.path", "any torch.optim.Optimizer class, on the torch engine", "such as torch.optim.Rprop", "")


def choices(kind: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The column titles and the rows for "optimizers", "problems" or "schedules"; a row begins with a name."""
    rows: list[tuple[str, ...]]
    if kind == "optimizers":
        rows = [(name, known.summary, known.source, defaults(known.options)) for name, known in OPTIMIZERS.items()]
        return ("optimizer", "update", "source", "options"), [*rows, IMPORTED]
    if kind == "problems":
        rows = [(name, first_line(known), known.source, defaults(known)) for name, known in PROBLEMS.items()]
        return ("problem", "losses", "source", "constants"), rows
    return ("schedule", "step sizes"), [(name, first_line(known)) for name, known in SCHEDULES.items()]


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


def first_line(known: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(known) or "").splitlines()[0]
