"""Lists the forms that an implementation is compared with: every registered rule, and its known departures."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from amsgrad_exp.errors import ConfigError, explain, nearest
from amsgrad_exp.identification.form import Form
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.gauntlet import row

Options = Mapping[str, Any]

FOLDED: dict[str, Any] = {"eps_at": "before"}
UNCORRECTED: dict[str, Any] = {"correct_m": 0, "correct_v": 0}

PARTS: dict[str, dict[str, Any]] = {
    "adam": {},
    "adamw": {"decay": "decoupled"},
    "sgd": {"first": "sum", "second": "none", "eps": False, **UNCORRECTED},
    "rmsprop": {"kind": "after", "first": "sum", **UNCORRECTED},
    "adagrad": {"first": "none", "second": "sum", **UNCORRECTED},
    "amsgrad": {"maximum": "uncorrected"},
    "adadelta": {"kind": "ratio", "first": "none", "eps_at": "in_after", **UNCORRECTED},
    "nadam": {"kind": "nesterov"},
    "radam": {"kind": "rectified", **FOLDED},
    "adamax": {"second": "largest", "correct_v": 0, "eps_at": "before"},
    "lion": {"kind": "lion", "eps": False, **UNCORRECTED},
    "signsgd": {"kind": "sign", "first": "none", "second": "none", "eps": False, **UNCORRECTED},
    "adabelief": {"squares": "belief", "inner_eps": True},
    "yogi": {"second": "yogi"},
    "adan": {"kind": "adan"},
    "adabound": {"kind": "bounded", **FOLDED},
    "amsbound": {"kind": "bounded", "maximum": "uncorrected", **FOLDED},
    "padam": {"maximum": "uncorrected", **FOLDED},
    "adopt": {"kind": "adopt", "eps_at": "before", **UNCORRECTED},
    "adashift": {"kind": "shifted", "correct_m": 0},
    "nosadam": {"second": "nostalgic", "correct_v": 0},
    "avagrad": {"kind": "async"},
    "acprop": {"kind": "async", "squares": "belief", "inner_eps": True, "correct_m": 0},
    "adamnc": {"second": "mean", **UNCORRECTED},
    "adamx": {"maximum": "uncorrected", **UNCORRECTED},
}
"""The parts of every rule, in order of how well known it is."""

OF_OPTIONS: dict[tuple[str, Any], dict[str, Any]] = {
    ("dialect", "paper"): UNCORRECTED,
    ("dialect", "optax"): {"maximum": "corrected"},
    ("optimized_update", True): FOLDED,
    ("form", "published"): {**UNCORRECTED, "kind": "adam", "second": "none", "eps": False},
    ("centered", True): {"second": "centered"},
}
"""The parts of a rule that each option changes."""

DECAYS: tuple[Options, ...] = ({"beta1_decay": "geometric"}, {"beta1_decay": "harmonic"})
USUAL: dict[str, tuple[Options, ...]] = {
    "adam": ({"optimized_update": False}, {}, {"dialect": "paper"}),
    "amsgrad": (
        *({"optimized_update": False}, {}, {"dialect": "optax"}, {"dialect": "paper"}),
        *({"dialect": "paper", **decay} for decay in DECAYS),
    ),
    "adamnc": ({}, *DECAYS),
    "adamx": ({}, *DECAYS),
    "nadam": ({}, {"momentum_decay": 1e6}),  # this makes μ_t = β1
    "nosadam": ({}, {"gamma": 0.0}),
    "padam": ({}, {"p": 0.25}),
    "adashift": ({}, {"n": 1}),
    "adopt": ({}, {"clip": False}),
    "avagrad": ({}, {"form": "published"}),
    "rmsprop": ({}, {"centered": True}, {"momentum": 0.9}, {"centered": True, "momentum": 0.9}),
    "sgd": ({}, {"momentum": 0.9}),
}
"""The options that are tried with each rule, besides those that an optimizer is known to have."""


def form(name: str, options: Options) -> Form:
    """A registered rule with these options; omitted options have their defaults."""
    complete = OPTIMIZERS[name].options.model_validate(dict(options)).model_dump()
    dialect, parts = complete.get("dialect"), dict(PARTS[name])
    if dialect not in (None, "torch"):
        complete["optimized_update"] = True  # this option belongs to dialect torch only
    for option in complete.items():
        if option != ("optimized_update", True) or dialect == "torch":
            parts |= OF_OPTIONS.get(option, {})
    return Form(name, complete, **parts)


def forms(known: Options | None = None, like: tuple[str, Options] | None = None) -> list[Form]:
    """Return every form of every rule, the best known first.

    ``known`` are settings of the implementation, by name; a rule that has such an option uses this value. ``like`` is
    the name of the only rule to use, and some of its options; pydantic's error is raised if it does not have them.
    """
    found: list[Form] = []
    for name in PARTS if like is None else (like[0],):
        fields = OPTIMIZERS[name].options.model_fields
        fixed = dict(like[1]) if like else {}
        own = {option: value for option, value in (known or {}).items() if option in fields} | fixed
        of_rule: list[Form] = []
        for usual in USUAL.get(name, ({},)):
            if any(own.get(option, value) != value for option, value in usual.items()):
                continue
            for options in ({**usual, **own}, {**usual, **fixed}):  # some forms lack some options
                with contextlib.suppress(ValidationError):
                    each = form(name, options)
                    of_rule += [each] if each not in of_rule else []
                    break
        found += of_rule or [form(name, own)]
    return found


def described(each: Form) -> str:
    """Return a form's name with those of its options that are not defaults, written as for ``--like``."""
    default = OPTIMIZERS[each.name].options().model_dump()
    options = [f"{name}={_written(value)}" for name, value in each.options.items() if value != default[name]]
    return ":".join([each.name, *([",".join(options)] if options else [])])


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def rule_named(written: str) -> tuple[str, Options]:
    """Parse ``NAME`` or ``NAME:OPTION=VALUE,…`` into a registered rule and some of its options."""
    entry = row(written)
    name, options = entry["name"], entry.get("options", {})
    if name not in OPTIMIZERS:
        raise ConfigError(f"unknown rule {name!r}, {nearest(name, OPTIMIZERS)}")
    try:
        forms(like=(name, options))
    except ValidationError as error:
        raise ConfigError(explain(error, OPTIMIZERS[name].options, name)) from error
    return name, options


SENTENCES = {
    "eps_in_root": "ε is inside the root",
    "eps_before_correction": "ε is added to the root of v before the bias of v is corrected",
    "eps_after_correction": "ε is added last, to the finished root",
    "eps_missing": "there is no ε",
    "m_not_corrected": "the bias of the first moment is not corrected",
    "v_not_corrected": "the bias of the second moment is not corrected",
    "corrected_twice": "a bias is corrected twice",
    "count_late": "steps are counted from 0: t − 1 stands in place of t",
    "count_early": "one step too many is counted: t + 1 stands in place of t",
    "max_not_kept": "the maximum of v is not kept from step to step",
    "max_of_corrected": "the maximum is of v after its bias is corrected",
    "max_of_uncorrected": "the maximum is of v before its bias is corrected",
    "v_before_update": "the second moment is used as it was before this step's gradient came in",
    "m_before_update": "the first moment is used as it was before this step's gradient came in",
    "v_of_m": "the second moment is of the first moment's square, in place of the gradient's",
    "no_root": "the second moment divides without a root",
    "beta1_not_complemented": "the gradient is not multiplied by 1 − β1: m = β1·m + g",
    "weight_decay_coupled": "weight decay is added to the gradient",
    "weight_decay_decoupled": "weight decay shrinks x itself, multiplied by the step size",
    "weight_decay_without_lr": "weight decay shrinks x itself, without the step size",
    "lr_in_momentum": "the step size multiplies gradients as they go into the momentum, in place of the update",
    "sign_flipped": "x moves the other way",
    "betas_swapped": "β1 and β2 have changed places",
    "not_elementwise": "an element's update depends on other elements of its parameter",
    "state_shared": "parameters depend on each other: they share state, a count of steps or a norm",
    "beta1_change": "a changing β1 has a different effect",
    "long_run": "it departs only after many steps",
}
"""The departures by their codes, in words to follow "departs:"."""

OF_THE_WHOLE = {
    "not_elementwise": "two elements",
    "state_shared": "two parameters",
    "beta1_change": "beta1 changes",
    "long_run": "long",
}
"""Departures that concern several numbers, so that no `Form` can have them, and the probes that show them."""

CODES = tuple(code for code in SENTENCES if code not in OF_THE_WHOLE)


def _changes(form: Form) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each departure that a form can have, with each set of changed parts that models it."""
    kind, at, second, correct_m, correct_v = form.kind, form.eps_at, form.second, form.correct_m, form.correct_v
    late = kind in ("async", "adopt")  # rules that divide by an older v
    averages, plain = form.first == "average", form.squares == "g"
    momentum = averages or (form.first == "sum" and form.options["momentum"] > 0)
    decays = form.options.get("beta1_decay", "none") != "none"
    counts = kind in ("bounded", "rectified", "nesterov") or second in ("mean", "nostalgic") or decays
    counts = form.count == 0 and (counts or form.options.get("clip") or correct_m or correct_v)
    uncorrected_at_0 = counts and kind not in ("rectified", "nesterov", "adopt")
    rooted = form.eps and form.root and at in ("after", "before") and second != "largest"
    moves_v = second != "none" and form.old_v == "no" and not late and kind != "shifted"
    moves_m = momentum and not form.old_m and kind not in ("shifted", "lion") and form.name != "acprop"
    swaps = kind == "lion" or (averages and second in ("average", "yogi", "largest"))
    other_root = {"eps_at": "in_after" if at == "before" else "in_before"}
    of_corrected = {"maximum": "corrected", "eps_at": "in_after" if at.startswith("in") else "after"}
    changes: tuple[tuple[str, object, dict[str, Any]], ...] = (
        ("eps_in_root", rooted, {"eps_at": f"in_{at}"}),
        ("eps_in_root", rooted and not late, {"eps_at": f"in_{at}", "eps_twice": True}),
        ("eps_in_root", rooted and not late and correct_v, other_root),
        ("eps_before_correction", form.eps and at == "after" and correct_v and form.name != "avagrad", FOLDED),
        ("eps_after_correction", form.eps and (at == "before" or kind == "ratio"), {"eps_at": "after"}),
        ("eps_missing", form.eps, {"eps": False, "inner_eps": False}),
        ("eps_missing", form.eps and form.inner_eps, {"eps": False}),
        ("eps_missing", form.eps and form.inner_eps, {"inner_eps": False}),
        ("m_not_corrected", correct_m == 1, {"correct_m": 0}),
        ("v_not_corrected", correct_v == 1, {"correct_v": 0}),
        ("corrected_twice", correct_m == 1, {"correct_m": 2}),
        ("corrected_twice", correct_v == 1, {"correct_v": 2}),
        ("corrected_twice", correct_m == correct_v == 1, {"correct_m": 2, "correct_v": 2}),
        ("count_late", counts, {"count": -1}),
        ("count_late", uncorrected_at_0, {"count": -1, "count_at_0": "uncorrected"}),
        ("count_early", counts, {"count": 1}),
        ("max_not_kept", form.maximum != "none" and form.kept, {"maximum": "none"}),
        ("max_not_kept", form.maximum != "none" and form.kept, {"kept": False}),
        ("max_of_corrected", form.maximum == "uncorrected" and correct_v, of_corrected),
        ("max_of_uncorrected", form.maximum == "corrected" and correct_v, {"maximum": "uncorrected"}),
        ("v_before_update", moves_v, {"old_v": "yes"}),
        ("v_before_update", moves_v and correct_v, {"old_v": "counted"}),
        ("m_before_update", moves_m, {"old_m": True}),
        ("m_before_update", form.squares == "belief", {"squares": "belief_before"}),
        ("v_of_m", second != "none" and plain and averages and kind not in ("shifted", "adopt"), {"squares": "m"}),
        ("no_root", form.root and second not in ("none", "largest"), {"root": False}),
        ("beta1_not_complemented", form.complemented and averages, {"complemented": False}),
        ("weight_decay_coupled", form.decay != "coupled", {"decay": "coupled"}),
        ("weight_decay_decoupled", form.decay != "decoupled", {"decay": "decoupled"}),
        ("weight_decay_without_lr", form.decay != "without_lr", {"decay": "without_lr"}),
        ("lr_in_momentum", momentum and plain and kind not in ("bounded", "lion", "async"), {"lr_in_momentum": True}),
        ("sign_flipped", form.flipped == "no", {"flipped": "all"}),
        ("sign_flipped", form.flipped == "no" and form.decay in ("decoupled", "without_lr"), {"flipped": "update"}),
        ("betas_swapped", swaps and not form.swapped, {"swapped": True}),
    )
    return ((code, changed) for code, possible, changed in changes if possible)


def departed(form: Form, codes: tuple[str, ...] = CODES) -> list[Form]:
    """Return a form with each one of these departures, in every way to make it, in the order of `CODES`."""
    return [
        replace(form, **changed, departures=(*form.departures, code))
        for code, changed in _changes(form)
        if code in codes
    ]


def departed_twice(form: Form, codes: tuple[str, ...]) -> Iterator[Form]:
    """Yield a form with each pair of these departures."""
    once = {code: departed(form, (code,)) for code in codes}
    for one, other in itertools.combinations(codes, 2):
        for changed in once[one]:
            yield from departed(changed, (other,))
