"""Composes every registered rule, in every form of its options, from parts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.identification.form import Form
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.explain import explain, nearest
from amsgrad_exp.spec.gauntlet import row

BEST_KNOWN_FIRST: tuple[str, ...] = (
    *("adam", "adamw", "sgd", "rmsprop", "adagrad", "amsgrad", "adadelta", "nadam", "radam", "adamax", "lion"),
    *("signsgd", "adabelief", "yogi", "adan", "adabound", "amsbound", "padam", "adopt", "adashift", "nosadam"),
    *("avagrad", "acprop", "adamnc", "adamx"),
)

Options = Mapping[str, Any]

FOLDED: dict[str, Any] = {"eps_at": "before", "outside": True}
UNCORRECTED: dict[str, Any] = {"correct_m": 0, "correct_v": 0}


def _dialect(options: Options) -> dict[str, Any]:
    if options["dialect"] == "paper":
        return UNCORRECTED
    return FOLDED if options["dialect"] == "torch" and options["optimized_update"] else {}


def _amsgrad(options: Options) -> dict[str, Any]:
    of = "corrected" if options["dialect"] == "optax" else "uncorrected"
    return {**_dialect(options), "maximum": of}


def _avagrad(options: Options) -> dict[str, Any]:
    return {"kind": "async"} if options["form"] == "released" else {**UNCORRECTED, "second": "none", "eps": False}


def _rmsprop(options: Options) -> dict[str, Any]:
    second = "centered" if options["centered"] else "average"
    return {**UNCORRECTED, "kind": "after", "first": "sum", "second": second}


def _always(**parts: Any) -> Callable[[Options], dict[str, Any]]:
    return lambda options: parts


PARTS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "adam": _dialect,
    "adamw": _always(decay="decoupled"),
    "adamax": _always(second="largest", correct_v=0, eps_at="before"),
    "nadam": _always(kind="nesterov"),
    "radam": _always(kind="rectified", **FOLDED),
    "amsgrad": _amsgrad,
    "adamnc": _always(second="mean", **UNCORRECTED),
    "adamx": _always(maximum="uncorrected", **UNCORRECTED),
    "nosadam": _always(second="nostalgic", correct_v=0),
    "padam": _always(maximum="uncorrected", **FOLDED),
    "yogi": _always(second="yogi"),
    "adabelief": _always(squares="belief", inner_eps=True),
    "acprop": _always(kind="async", squares="belief", inner_eps=True, correct_m=0),
    "adabound": _always(kind="bounded", **FOLDED),
    "amsbound": _always(kind="bounded", maximum="uncorrected", **FOLDED),
    "adashift": _always(kind="shifted", correct_m=0),
    "adopt": _always(kind="adopt", eps_at="before", **UNCORRECTED),
    "avagrad": _avagrad,
    "adan": _always(kind="adan"),
    "lion": _always(kind="lion", eps=False, **UNCORRECTED),
    "rmsprop": _rmsprop,
    "adagrad": _always(first="none", second="sum", **UNCORRECTED),
    "adadelta": _always(kind="ratio", first="none", eps_at="in_after", **UNCORRECTED),
    "sgd": _always(first="sum", second="none", eps=False, **UNCORRECTED),
    "signsgd": _always(kind="sign", first="none", second="none", eps=False, **UNCORRECTED),
}

USUAL: dict[str, tuple[Options, ...]] = {
    "adam": ({"optimized_update": False}, {}, {"dialect": "paper"}),
    "amsgrad": (
        {"optimized_update": False},
        {},
        {"dialect": "optax"},
        {"dialect": "paper"},
        {"dialect": "paper", "beta1_decay": "geometric"},
        {"dialect": "paper", "beta1_decay": "harmonic"},
    ),
    "adamnc": ({}, {"beta1_decay": "geometric"}, {"beta1_decay": "harmonic"}),
    "adamx": ({}, {"beta1_decay": "geometric"}, {"beta1_decay": "harmonic"}),
    "nadam": ({}, {"momentum_decay": 1e6}),  # which is μ_t = β1
    "nosadam": ({}, {"gamma": 0.0}),
    "padam": ({}, {"p": 0.25}),
    "adashift": ({}, {"n": 1}),
    "adopt": ({}, {"clip": False}),
    "avagrad": ({}, {"form": "published"}),
    "rmsprop": ({}, {"centered": True}, {"momentum": 0.9}, {"centered": True, "momentum": 0.9}),
    "sgd": ({}, {"momentum": 0.9}),
}
"""The options that each rule is tried with, beside those that an optimizer is known to have."""


def form(name: str, options: Options) -> Form:
    """A registered rule with these options; omitted options have their defaults.

    Raises:
        pydantic.ValidationError: the rule has no such option.
    """
    complete = OPTIMIZERS[name].options.model_validate(dict(options)).model_dump()
    if complete.get("dialect", "torch") != "torch":
        complete["optimized_update"] = True  # which is of dialect torch alone
    return Form(name, complete, **PARTS[name](complete))


def forms(known: Options | None = None, like: tuple[str, Options] | None = None) -> list[Form]:
    """Every form of every rule, the best known first.

    Args:
        known: settings of the implementation, by name; a rule that has such an option uses this value.
        like: the name and some options of the only rule to use.

    Raises:
        pydantic.ValidationError: the rule has no such option.
    """
    found: list[Form] = []
    for name in BEST_KNOWN_FIRST if like is None else (like[0],):
        fields = OPTIMIZERS[name].options.model_fields
        fixed = dict(like[1]) if like else {}
        own = {option: value for option, value in (known or {}).items() if option in fields} | fixed
        of_rule: list[Form] = []
        for usual in USUAL.get(name, ({},)):
            if any(own.get(option, value) != value for option, value in usual.items()):
                continue
            for options in ({**usual, **own}, {**usual, **fixed}):  # some options are of some forms only
                with contextlib.suppress(ValidationError):
                    each = form(name, options)
                    of_rule += [each] if each not in of_rule else []
                    break
        found += of_rule or [form(name, own)]
    return found


def described(each: Form) -> str:
    """A form's name with its options that are not defaults, as ``--like`` takes it."""
    default = OPTIMIZERS[each.name].options().model_dump()
    options = [f"{name}={_written(value)}" for name, value in each.options.items() if value != default[name]]
    return ":".join([each.name, *([",".join(options)] if options else [])])


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def rule_named(written: str) -> tuple[str, Options]:
    """Parse ``NAME`` or ``NAME:OPTION=VALUE,…`` into a registered rule and some of its options.

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
