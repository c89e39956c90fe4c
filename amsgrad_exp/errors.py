"""Defines the errors that the user sees as one line, with the exit status of each, and words for their messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound="BaseModel")

MUST = {
    "bool_": "must be true or false",
    "int_": "must be a whole number",
    "float_": "must be a number",
    "too_short": "must have at least one entry",
    "string_pattern_mismatch": "must begin with a letter or digit and consist of letters, digits, '_', '.' and '-'",
}  # what is said of a value instead of pydantic's message, by how the type of its error begins


class Refusal(Exception):
    """A request was not carried out; the message is one line that says why."""

    status: ClassVar[int] = 1  # the exit status of the command line


class ConfigError(Refusal, ValueError):
    """An invalid experiment; the message names the field and the value."""

    status = 2


class NoSteadyState(ConfigError):
    """No steady state is known for an optimizer or a problem."""


class NoBound(ConfigError):
    """No bound on the regret is known for an optimizer or a problem."""


class RunFailed(Refusal, RuntimeError):
    """The optimizer raised, or the iterate became NaN or infinite; the message names the step."""


class RunError(Refusal, RuntimeError):
    """A run cannot be found, recorded or resumed."""


class NoSuchRun(RunError):
    """There is no such run, or this version cannot read it."""

    status = 2


class Damaged(RunError):
    """A recorded file is not what was written."""


class NotAsExpected(Refusal):
    """An optimizer did not settle where ``--expect`` says."""

    status = 3


class NotVerified(Refusal):
    """A record differs from the same computation done again."""

    status = 4


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known name, or all of them."""
    import difflib

    known = sorted(known)
    close = difflib.get_close_matches(name.lower(), known)
    swapped = [each for each in close if sorted(each) == sorted(name.lower())]
    return f"did you mean {(swapped or close)[0]}?" if close else f"choose from {', '.join(known)}"


def validated(model: type[Model], data: Any, prefix: str = "") -> Model:
    """A model's instance from data; a ConfigError that explains why if there is none."""
    try:
        return model.model_validate(data)
    except ValueError as error:  # without importing pydantic here, a ValidationError
        raise ConfigError(explain(cast("ValidationError", error), model, prefix)) from error


def explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """A validation error's first problem as one line that names the field and the value."""
    first = error.errors(include_url=False)[0]
    names = [str(part) for part in (prefix, *first["loc"]) if part != ""]
    field = ".".join(name if name.isprintable() else short(name) for name in names)
    if first["type"] == "extra_forbidden":
        return f"{field}: unknown key, {nearest(str(first['loc'][-1]), model.model_fields)}"
    if first["type"] == "missing":
        return f"{field} is missing" + (f": give it with --set {names[-1]}=…" if prefix == "problem" else "")
    return f"{field}: {complaint(first)}" if field else complaint(first)


def complaint(first: Mapping[str, Any]) -> str:
    """What is wrong with a value, from one of a validation error's problems; the value itself is named, too."""
    if first["type"] == "value_error":
        return str(first["msg"]).removeprefix("Value error, ")
    message = first["msg"].replace("Input should be", "must be")
    must = next((words for start, words in MUST.items() if first["type"].startswith(start)), message)
    given = first["input"]
    if not (isinstance(given, str) and given.lstrip("+-.")[:1].isdigit()):  # a number is shown without quotes
        given = "null" if given is None else short(given)
    return f"{must[0].lower()}{must[1:]}, not {given}"


def short(value: object) -> str:
    """The repr of a value, shortened to 60 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:59]}…"


def bytes_in_words(count: float) -> str:
    """A number of bytes as people say it, in MB, or from 100 MB on in GB."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
