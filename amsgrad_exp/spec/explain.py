"""Explains in one line why a name or a value is invalid."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import (
    BaseModel,
    ValidationError,
)

from amsgrad_exp.rules.settings import OptimizerSettings


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known name, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """A validation error's first problem as one line that names the field and the value."""
    first = error.errors(include_url=False)[0]
    where = first["loc"]
    if where[:1] == ("optimizers",) and len(where) > 2:
        where = where[2:]
    elif where[:1] == ("optimizer",) and len(where) > 1:
        where = where[1:]
    field = ".".join(str(part) for part in (prefix, *where) if part != "")
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if first["type"] == "extra_forbidden":
        known = OptimizerSettings.model_fields if first["loc"][0] in ("optimizer", "optimizers") else model.model_fields
        return f"{field}: unknown key, {nearest(str(first['loc'][-1]), known)}"
    if first["type"] in ("value_error", "missing"):
        return f"{field}: {message}" if field else message
    return f"{field}: {message[0].lower()}{message[1:]}, not {short(first['input'])}"


def bytes_in_words(count: float) -> str:
    """A number of bytes as people say it, in MB, or from 100 MB on in GB."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"


def short(value: object) -> str:
    """The repr of a value, shortened to 60 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:59]}…"
