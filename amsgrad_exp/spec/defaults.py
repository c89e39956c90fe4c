"""Completes an experiment: omitted settings default to the problem's, else to the reference experiment's.

An unknown name, or a setting that is invalid or not accepted, raises a ConfigError that names it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from amsgrad_exp.errors import ConfigError, explain, nearest, short, validated
from amsgrad_exp.numbers import whole_number
from amsgrad_exp.problems import PROBLEMS, LinearProblem, Problem
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.rules.settings import OptimizerSettings

if TYPE_CHECKING:
    from amsgrad_exp.optimizers.importing import Imported

REFERENCE = {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "eps": 1e-16, "optimized_update": True}
LR = 1e-3  # the learning rate for a class without a default
TAKEN_AS = {"beta1": "betas", "beta2": "betas", "eps": "eps", "optimized_update": "optimized_update"}

# A reference setting is used only if the optimizer's own default is of the same kind; Adafactor's ε is a pair.
REFERENCE_KINDS: dict[str, Callable[[Any], bool]] = {
    "betas": lambda default: default is inspect.Parameter.empty or (isinstance(default, tuple) and len(default) == 2),
    "eps": lambda default: default is inspect.Parameter.empty or isinstance(default, int | float),
    "optimized_update": lambda default: isinstance(default, bool),
}


def complete(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the settings that an experiment, given as in YAML, omits.

    A problem or an optimizer without further settings may be given as just its name.
    """
    data = dict(given)
    problem = build_problem(data.get("problem", "online"))
    stated = problem.source_settings
    listed = data.get("optimizers", ["adam", "amsgrad"])
    if not isinstance(listed, list | tuple):
        raise ConfigError(f"optimizers must be a list, not {listed!r}")
    defaults = {key: stated.get(key, value) for key, value in REFERENCE.items()}
    data["problem"] = problem
    data["optimizers"] = [complete_settings(entry, defaults) for entry in listed]
    data.setdefault("schedule", stated.get("schedule", "constant"))
    data.setdefault("steps", 10_000_000)
    steps = whole_number(data["steps"])
    if data.get("log_every") is None and isinstance(steps, int):
        data["log_every"] = max(1, steps // 10_000)
    return data


def named(entry: Any, field: str) -> dict[str, Any]:
    """Turn a name, or a mapping with a name, into a mapping."""
    if isinstance(entry, str):
        return {"name": entry}
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        return entry
    raise ConfigError(f"{field}: a name, or a mapping with a name, is needed, not {short(entry)}")


def build_problem(given: Any) -> Problem:
    """Build a problem from its name or a mapping; return a `Problem` unchanged."""
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
            without_ends = [name for name, kind in PROBLEMS.items() if kind.interval is not LinearProblem.interval]
            said += f". Problems without ends are {', '.join(without_ends)}"
        raise ConfigError(said) from error


def check_name(optimizer: str) -> None:
    """Check that an optimizer's name is registered or looks like an import path."""
    name, colon, _ = optimizer.partition(":")
    if colon and name in OPTIMIZERS:
        raise ConfigError(f"optimizers: {optimizer!r} is the notation of a gauntlet; here --option sets options")
    if optimizer not in OPTIMIZERS and "." not in optimizer:
        hint = "; an import path has a dot, such as torch.optim.Adam"
        raise ConfigError(f"optimizers: unknown name {optimizer!r}, {nearest(optimizer, OPTIMIZERS)}{hint}")


def complete_settings(given: Any, defaults: Mapping[str, Any] = REFERENCE) -> OptimizerSettings:
    """Complete an optimizer's settings with those defaults that it accepts."""
    if isinstance(given, OptimizerSettings):
        return given
    entry = {key: value for key, value in named(given, "optimizers").items() if value is not None}
    check_name(entry["name"])
    completed = (_registered if entry["name"] in OPTIMIZERS else _imported)(entry, defaults)
    return validated(OptimizerSettings, completed, entry["name"])


def _registered(entry: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Complete a registered optimizer's settings with the defaults that it accepts and all of its options."""
    name = entry["name"]
    kind = OPTIMIZERS[name].options
    given = entry.get("options", {})
    if given and not kind.model_fields:
        raise ConfigError(f"{name}.options: {name} has no options, so none can be set")
    options = validated(kind, {} if given is None else given, f"{name}.options")
    forms = options.model_dump(include={"optimized_update"})
    if "optimized_update" in options.model_fields_set:  # it may also be written next to lr
        if "optimized_update" in entry:
            raise ConfigError(f"{name} is given optimized_update, and again in its options: remove one of them")
        entry = {**entry, **forms}
    if "shape" in entry:
        raise ConfigError(f"{name} updates every element alike, so it takes no shape")
    takes = {"lr", *OPTIMIZERS[name].rule(options).settings, *forms}
    for setting in REFERENCE:
        if setting in entry and setting not in takes:
            raise ConfigError(f"{name} takes no {setting}, so it cannot be set")
    taken = {setting: value for setting, value in defaults.items() if setting in takes}
    return taken | {**entry, "options": options.model_dump(exclude=set(forms))}


def _imported(entry: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Complete an imported optimizer's settings with the defaults that its constructor accepts."""
    name = entry["name"]
    imported = imported_optimizer(name)
    parameters = imported.parameters
    if not imported.takes("lr"):
        raise ConfigError(f"{name} takes no lr, which every schedule sets{imported.hint({})}")
    options = entry.get("options")
    options = options if isinstance(options, dict) else {}
    taken = dict(defaults)
    for setting, argument in TAKEN_AS.items():
        if setting in entry and argument in options:
            raise ConfigError(f"{name} is given {setting}, and {argument} in its options: remove one of them")
        if setting in entry and not imported.takes(argument):
            raise ConfigError(f"{name} takes no {argument}, so {setting} cannot be set")
        of_its_kind = REFERENCE_KINDS[argument]
        if argument not in parameters or argument in options or not of_its_kind(parameters[argument].default):
            taken.pop(setting, None)
    if imported.takes_anything and ("beta1" in entry) != ("beta2" in entry):
        taken |= {"beta1": defaults["beta1"], "beta2": defaults["beta2"]}
    return {**taken, **entry}


def option_types(name: str) -> dict[str, Any]:
    """Return the options of an optimizer and their types.

    An import path is imported, for the options whose default is a number. The type is int only if the constructor's
    annotation says so, because a default of 0 does not imply an integer.
    """
    if name in OPTIMIZERS:
        return {option: field.annotation for option, field in OPTIMIZERS[name].options.model_fields.items()}
    return {
        option: int if parameter.annotation in (int, "int") else float
        for option, parameter in imported_optimizer(name).parameters.items()
        if type(parameter.default) in (int, float) and option not in ("lr", *TAKEN_AS)
    }


def published(name: str, without: Collection[str] = ()) -> dict[str, Any]:
    """Return the defaults that an optimizer's authors or its library publish: lr and those of its other settings.

    An import path is imported; ``without`` are arguments of its class to leave out.
    """
    if name in OPTIMIZERS:
        return dict(OPTIMIZERS[name].defaults)
    if "." not in name:
        return {}  # the optimizer is rejected when the experiment is completed
    own = {
        argument: parameter.default
        for argument, parameter in imported_optimizer(name).parameters.items()
        if parameter.default is not parameter.empty and argument not in without
    }
    lr = own.get("lr")
    found: dict[str, Any] = {"lr": lr if isinstance(lr, int | float) and not isinstance(lr, bool) else LR}
    if REFERENCE_KINDS["betas"](own.get("betas")):
        found["beta1"], found["beta2"] = own["betas"]
    for argument in ("eps", "optimized_update"):
        if REFERENCE_KINDS[argument](own.get(argument)):
            found[argument] = own[argument]
    return found


def imported_optimizer(name: str) -> Imported:
    """Import an optimizer."""
    from amsgrad_exp.optimizers.importing import import_optimizer

    try:
        return import_optimizer(name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
