"""Reads and writes values in files and options: YAML 1.2's core schema, numbers such as 10_000_000, and NAME=VALUE.

1e-2 and 0e0 are numbers, 010 is 10, 0o10 is 8 and 0x10 is 16; 12:30, yes, no, on, off and None are text.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import yaml
from pydantic import AllowInfNan, BeforeValidator

from amsgrad_exp.errors import ConfigError, short

MAX_DEPTH = 50
MAX_DIGITS = 250  # an integer of this length fits a double; longer ones are read as doubles

_WORDS = dict.fromkeys(("", "~", "null", "Null", "NULL")) | {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_INTEGER = re.compile(r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9][0-9_]*|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_TAG = "tag:yaml.org,2002:"
_KINDS = {type(None): "null", bool: "bool", int: "int", float: "float", str: "str"}


def number(text: str) -> int | float:
    """Parse a number; a ValueError says what is needed."""
    digits = text.strip().replace("_", "")
    if _INTEGER.fullmatch(text.strip()) and len(digits) <= MAX_DIGITS:
        return int(digits, {"0o": 8, "0x": 16}.get(digits[:2], 10))
    if _FLOAT.fullmatch(text.strip()):
        return float(digits.lower().replace(".inf", "inf").replace(".nan", "nan"))
    raise ValueError(f"a number such as 0.01 or 1e-2 is needed, not {text[:60]!r}")


def whole_number(value: object) -> object:
    """Turn 10_000_000, 1e7 or 100.0, also as text, into an integer; return anything else unchanged."""
    if isinstance(value, str):
        try:
            value = number(value)
        except ValueError:
            return value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed")
    with contextlib.suppress(ValueError):  # pydantic explains a text that is not a number
        return number(value) if isinstance(value, str) else value
    return value


Number = Annotated[float, AllowInfNan(False), BeforeValidator(_read)]
Integer = Annotated[int, BeforeValidator(whole_number), BeforeValidator(_read)]


def load(text: str) -> Any:
    """Parse YAML; a ValueError's message continues the name of what was read, as in "x.yaml is not YAML: …"."""
    try:
        events = (
            event
            for event in yaml.parse(text, Loader=yaml.SafeLoader)
            if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent)
        )
        first = next(events, None)
        value = None if first is None else _value(events, first, MAX_DEPTH)
        if next(events, None) is not None:
            raise ValueError("contains more than one YAML document")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        why = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ValueError(f"is not YAML: {where}{why}") from error
    return value


def _value(events: Iterator[yaml.Event], event: yaml.Event, depth: int) -> Any:
    """The value that starts with an event; it may be nested at most ``depth`` levels deep."""
    if isinstance(event, yaml.AliasEvent):  # a few aliases can expand to gigabytes
        raise ValueError(f"uses a YAML alias, *{event.anchor}: write the value out")
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event)
    if depth == 0:
        raise ValueError(f"is nested more than {MAX_DEPTH} deep")
    is_list = isinstance(event, yaml.SequenceStartEvent)
    _check_tag(event, "seq" if is_list else "map")
    values: list[Any] = []
    mapping: dict[str, Any] = {}
    while not isinstance(following := next(events), yaml.CollectionEndEvent):
        value = _value(events, following, depth - 1)
        if is_list:
            values.append(value)
        elif not isinstance(value, str):
            raise ValueError(f"has a key that is not text, {value!r:.60}, in line {_line(following)}")
        elif value in mapping:
            raise ValueError(f"has {value} twice, the second time in line {_line(following)}")
        else:
            mapping[value] = _value(events, next(events), depth - 1)
    return values if is_list else mapping


def _scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    if event.tag in ("!", _TAG + "str") or (event.tag is None and not event.implicit[0]):
        return text
    value: Any = _WORDS.get(text, text)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = number(text)
    if type(value) is int and event.tag == _TAG + "float":
        value = float(value)
    _check_tag(event, _KINDS[type(value)])
    return value


def _check_tag(event: Any, kind: str) -> None:
    if event.tag not in (None, "!", _TAG + kind):
        raise ValueError(f"has a tag that is not supported, {event.tag}, in line {_line(event)}")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


class _Dumper(yaml.SafeDumper):
    """Quotes texts that YAML 1.1 or 1.2 would not read as text."""


for _kind, _form in (("int", _INTEGER), ("float", _FLOAT)):
    _Dumper.add_implicit_resolver(_TAG + _kind, re.compile(f"(?:{_form.pattern})\\Z"), None)


def dump(data: Mapping[str, Any]) -> str:
    """A mapping as YAML that `load` reads, with its keys in order."""
    text: str = yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def assigned(texts: Iterable[str], of: str, form: str = "NAME=VALUE") -> dict[str, str]:
    """The text assigned to each name by texts such as "C=3"; each name may be given once.

    Messages say what the texts belong to ("--set", or the name before the colon) and which form is expected.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name.strip() and equals):
            raise ConfigError(f"{of} takes {form}, not {text!r}")
        if name.strip() in values:
            raise ConfigError(f"{of} {name.strip()} is given twice")
        values[name.strip()] = value
    return values


def after_colon(text: str, form: str = "NAME=VALUE") -> tuple[str, dict[str, str]]:
    """The name and the assignments of a text such as ``amsgrad:dialect=paper,p=0.25``; errors as of `assigned`."""
    name, colon, rest = text.partition(":")
    return name, assigned(rest.split(",") if colon else (), name, f"{form} after its colon")


def option_value(name: str, text: str) -> Any:
    """The value of an optimizer's own option, which is written as in YAML."""
    try:
        return load(text)
    except ValueError as error:
        raise ConfigError(f"option {name}: {short(text)} {error}") from error
