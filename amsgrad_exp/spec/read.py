"""Experiments as they are written: YAML in, the command line's options on top, defaults."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import (
    ValidationError,
)

from amsgrad_exp.engines import OPTIMIZERS
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.numbers import whole_number
from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.problems.base import Problem
from amsgrad_exp.spec.experiment import Experiment
from amsgrad_exp.spec.explain import explain, nearest, short
from amsgrad_exp.spec.foreign import REFERENCE_KINDS

MAX_BYTES = 1_000_000  # of a file that describes an experiment


def resolve(data: Mapping[str, Any]) -> Experiment:
    """Complete and check an experiment as it is written in YAML.

    What is left out takes the problem's natural settings, or else those of the reference experiment. A problem or an
    optimizer without further settings may be given by its name alone.

    Raises:
        ConfigError: something is unknown, of the wrong type or impossible.
    """
    data = dict(data)
    problem = _problem(data.get("problem", "online"))
    natural = problem.natural_settings
    given = data.get("optimizers", ["adam", "amsgrad"])
    if not isinstance(given, list):
        raise ConfigError(f"optimizers must be a list, not {given!r}")
    data["problem"] = problem
    data["optimizers"] = [_complete(settings, natural) for settings in given]
    data.setdefault("schedule", natural.get("schedule", "constant"))
    data.setdefault("steps", 10_000_000)
    steps = whole_number(data["steps"])
    if data.get("log_every") is None and isinstance(steps, int):
        data["log_every"] = max(1, steps // 10_000)
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explain(error, Experiment)) from error


def read_complete(path: Path) -> Experiment:
    """Read a complete experiment, as `Experiment.to_yaml` writes it, without importing what it names.

    Raises:
        ConfigError: it is none.
    """
    data = _read_yaml(path)
    try:
        return Experiment.model_validate({**data, "problem": _problem(data.get("problem"))})
    except ValidationError as error:
        raise ConfigError(explain(error, Experiment)) from error


def read_experiment(
    path: Path | None = None,
    *,
    optimizers: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """An experiment as it is written in YAML, with what the command line says on top; for `resolve` to complete.

    Args:
        path: a YAML file; without one, the reference experiment.
        optimizers: names to run instead of all of the file's; one that the file has keeps its settings there.
        settings: settings of every optimizer, such as lr.
        constants: constants of the problem.
        overrides: top-level keys; None leaves the file's value.

    Raises:
        ConfigError: the file cannot be read, or does not have the form of an experiment.
    """
    data = _read_yaml(path) if path else {}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    in_file = _named(data.get("problem", "online"), "problem")
    if overrides.get("problem") in (None, in_file["name"]):
        overrides["problem"] = in_file
    data |= overrides
    if "name" in (constants or {}):
        raise ConfigError("problem: its name is no constant, and is set by --problem")
    data["problem"] = _named(data["problem"], "problem") | dict(constants or {})
    listed = data.get("optimizers", ["adam", "amsgrad"])
    if isinstance(listed, list):
        entries = [_named(entry, "optimizers") for entry in listed]
        if optimizers:
            by_name = {entry["name"]: entry for entry in entries}
            entries = [by_name.get(name, {"name": name}) for name in optimizers]
        data["optimizers"] = [entry | dict(settings or {}) for entry in entries]
    return data


def load_experiment(path: Path | None = None, **given: Any) -> Experiment:
    """Read, complete and check an experiment; the arguments are `read_experiment`'s.

    An optimizer named by an import path is imported, to see what it takes.

    Raises:
        ConfigError: the file cannot be read, or the experiment cannot be.
    """
    data = read_experiment(path, **given)
    if "grid" in data:
        raise ConfigError(f"{path} has a grid, which makes it a sweep: amsgrad-exp sweep --config {path}")
    return resolve(data)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path} is no experiment: it is larger than {MAX_BYTES:,} bytes")
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):  # a few of them can stand for gigabytes
                raise ConfigError(f"{path} uses a YAML alias, *{event.anchor}: write the value out")
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError(f"{path} is not an experiment: it must be a mapping such as 'steps: 1000'")
    return data


def _named(entry: Any, field: str) -> dict[str, Any]:
    """What was given as a name alone or as a mapping with a name, as a mapping."""
    if isinstance(entry, str):
        return {"name": entry}
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        return entry
    raise ConfigError(f"{field}: a name, or a mapping with a name, is needed, not {short(entry)}")


def _problem(given: Any) -> Problem:
    entry = _named(given, "problem")
    if entry["name"] not in PROBLEMS:
        raise ConfigError(f"problem: unknown name {entry['name']!r}, {nearest(entry['name'], PROBLEMS)}")
    kind = PROBLEMS[entry["name"]]
    try:
        return kind.model_validate(entry)
    except ValidationError as error:
        raise ConfigError(explain(error, kind, "problem")) from error


def _complete(given: Any, natural: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in an optimizer's settings where its class takes them."""
    entry = {key: value for key, value in _named(given, "optimizers").items() if value is not None}
    name = entry["name"]
    reference = {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "eps": 1e-16, "optimized_update": True}
    defaults = {key: natural.get(key, value) for key, value in reference.items()}
    if name in OPTIMIZERS:
        if entry.get("options"):
            raise ConfigError(f"optimizers: options go with an import path, not with {name}")
        return defaults | entry
    if "." not in name:
        raise ConfigError(f"optimizers: unknown name {name!r}, {nearest(name, OPTIMIZERS)}")
    from amsgrad_exp.engines.torch_loop import import_optimizer

    try:
        parameters = inspect.signature(import_optimizer(name)).parameters
    except ValueError as error:
        raise ConfigError(f"optimizers: {' '.join(str(error).split())}") from error
    takes_anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if "lr" not in parameters and not takes_anything:
        raise ConfigError(f"optimizers: {name} takes no lr, which every schedule sets")
    options = entry.get("options")
    options = options if isinstance(options, dict) else {}
    taken_as = {"beta1": "betas", "beta2": "betas", "eps": "eps", "optimized_update": "optimized_update"}
    for setting, argument in taken_as.items():
        if setting in entry and argument in options:
            raise ConfigError(f"optimizers: {name} is given {setting}, and {argument} in its options: leave one out")
        if setting in entry and argument not in parameters and not takes_anything:
            raise ConfigError(f"optimizers: {name} takes no {argument}, so {setting} cannot be set")
        given_for = REFERENCE_KINDS[argument]
        if argument not in parameters or argument in options or not given_for(parameters[argument].default):
            del defaults[setting]
    if takes_anything and ("beta1" in entry) != ("beta2" in entry):
        defaults |= {"beta1": 0.9, "beta2": 0.99}
    return defaults | entry
