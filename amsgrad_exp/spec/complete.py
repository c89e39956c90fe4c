"""Completes an experiment: omitted settings default to the problem's, else to the reference experiment's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.numbers import whole_number
from amsgrad_exp.problems import PROBLEMS, LinearProblem, Problem
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.spec.explain import explain, nearest, short
from amsgrad_exp.spec.foreign import complete_foreign

REFERENCE = {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "eps": 1e-16, "optimized_update": True}


def complete(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what an experiment, given as in YAML, leaves out.

    A problem or an optimizer without further settings may be given as just its name.

    Raises:
        ConfigError: a name is unknown, or the experiment is malformed.
    """
    data = dict(given)
    problem = build_problem(data.get("problem", "online"))
    natural = problem.natural_settings
    listed = data.get("optimizers", ["adam", "amsgrad"])
    if not isinstance(listed, list | tuple):
        raise ConfigError(f"optimizers must be a list, not {listed!r}")
    data["problem"] = problem
    data["optimizers"] = [_settings(entry, natural) for entry in listed]
    data.setdefault("schedule", natural.get("schedule", "constant"))
    data.setdefault("steps", 10_000_000)
    steps = whole_number(data["steps"])
    if data.get("log_every") is None and isinstance(steps, int):
        data["log_every"] = max(1, steps // 10_000)
    return data


def named(entry: Any, field: str) -> dict[str, Any]:
    """Turn a name, or a mapping with a name, into a mapping.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(entry, str):
        return {"name": entry}
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        return entry
    raise ConfigError(f"{field}: a name, or a mapping with a name, is needed, not {short(entry)}")


def build_problem(given: Any) -> Problem:
    """A problem from its name or a mapping; a `Problem` is returned unchanged.

    Raises:
        ConfigError: there is no such problem, or a constant is invalid.
    """
    if isinstance(given, Problem):
        return given
    entry = named(given, "problem")
    if entry["name"] not in PROBLEMS:
        raise ConfigError(f"problem: unknown name {entry['name']!r}, {nearest(entry['name'], PROBLEMS)}")
    kind = PROBLEMS[entry["name"]]
    try:
        return kind.model_validate(entry)
    except ValidationError as error:
        said = explain(error, kind, "problem")
        first = error.errors(include_url=False)[0]
        if first["type"] == "finite_number" and first["loc"] in (("low",), ("high",)):
            said += f". Problems without ends are {', '.join(_without_ends())}"
        raise ConfigError(said) from error


def _without_ends() -> list[str]:
    """The problems on which x is not clamped, by name."""
    return [name for name, kind in PROBLEMS.items() if kind.interval is not LinearProblem.interval]


def check_name(optimizer: str) -> None:
    """Check that an optimizer's name is registered or looks like an import path.

    Raises:
        ConfigError: it is neither.
    """
    name, colon, _ = optimizer.partition(":")
    if colon and name in OPTIMIZERS:
        raise ConfigError(f"optimizers: {optimizer!r} is the notation of a gauntlet; here --option sets options")
    if optimizer not in OPTIMIZERS and "." not in optimizer:
        raise ConfigError(f"optimizers: unknown name {optimizer!r}, {nearest(optimizer, OPTIMIZERS)}")


def _settings(given: Any, natural: Mapping[str, Any]) -> OptimizerSettings | dict[str, Any]:
    """An optimizer's settings, completed with defaults."""
    if isinstance(given, OptimizerSettings):
        return given
    entry = {key: value for key, value in named(given, "optimizers").items() if value is not None}
    name = entry["name"]
    defaults = {key: natural.get(key, value) for key, value in REFERENCE.items()}
    if name in OPTIMIZERS:
        return _registered(entry, defaults)
    check_name(name)
    return complete_foreign(entry, defaults)


def _registered(entry: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A registered optimizer's settings, completed with the defaults that it takes and all of its options."""
    name = entry["name"]
    kind = OPTIMIZERS[name].options
    given = entry.get("options", {})
    if given and not kind.model_fields:
        raise ConfigError(f"{name}.options: {name} has no options, so none can be set")
    try:
        options = kind.model_validate({} if given is None else given)
    except ValidationError as error:
        raise ConfigError(explain(error, kind, f"{name}.options")) from error
    forms = options.model_dump(include={"optimized_update"})
    if forms and "optimized_update" in options.model_fields_set:
        raise ConfigError(f"optimizers: optimized_update of {name} is not an option: write it next to lr")
    if "shape" in entry:
        raise ConfigError(f"optimizers: {name} updates every element alike, so it takes no shape")
    takes = {"lr", *OPTIMIZERS[name].rule(options).settings, *forms}
    for setting in REFERENCE:
        if setting in entry and setting not in takes:
            raise ConfigError(f"optimizers: {name} takes no {setting}, so it cannot be set")
    taken = {setting: value for setting, value in defaults.items() if setting in takes}
    return taken | {**entry, "options": options.model_dump(exclude=set(forms))}
