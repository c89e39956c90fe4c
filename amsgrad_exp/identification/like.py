"""The rule that an implementation is to be compared with, as it is written."""

from __future__ import annotations

from pydantic import ValidationError

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.identification.answer import Like
from amsgrad_exp.identification.candidates import forms
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.explain import explain, nearest
from amsgrad_exp.spec.gauntlet import row


def rule_named(written: str) -> Like:
    """A registered rule and some of its options, from ``NAME`` or ``NAME:OPTION=VALUE,…``.

    Raises:
        ConfigError: there is no such rule, or it has no such option.
    """
    entry = row(written)
    name, options = entry["name"], entry.get("options", {})
    if name not in OPTIMIZERS:
        raise ConfigError(f"unknown rule {name!r}, {nearest(name, OPTIMIZERS)}")
    try:
        forms(like=(name, options))
    except ValidationError as error:
        raise ConfigError(explain(error, OPTIMIZERS[name].options, name)) from error
    return name, options
