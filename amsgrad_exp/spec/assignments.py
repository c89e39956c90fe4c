"""Parses assignments NAME=VALUE, given as options or after a colon."""

from __future__ import annotations

from collections.abc import Iterable

from amsgrad_exp.errors import ConfigError


def assigned(texts: Iterable[str], of: str, form: str = "NAME=VALUE") -> dict[str, str]:
    """The text assigned to each name.

    Args:
        texts: assignments such as "C=3".
        of: what they belong to, for messages: "--set", or the name before the colon.
        form: the expected form, for messages.

    Raises:
        ConfigError: one has another form, or a name is given twice.
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
    """The name and the assignments of a text such as ``amsgrad:dialect=paper,p=0.25``.

    Raises:
        ConfigError: as in `assigned`.
    """
    name, colon, rest = text.partition(":")
    return name, assigned(rest.split(",") if colon else (), name, f"{form} after its colon")
