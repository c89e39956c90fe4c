"""Reads experiments from YAML and the command line's options, and writes the command that repeats one.

If something is unreadable or invalid, a ConfigError names the file or the field.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amsgrad_exp.errors import ConfigError, validated
from amsgrad_exp.numbers import load, option_value
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.spec.defaults import complete, named
from amsgrad_exp.spec.experiment import Experiment, Trial

SETTINGS = ("lr", "beta1", "beta2", "eps")
FLAGS = ("schedule", "steps", "log_every", "engine", "dtype", "seed", "seeds")
MAX_BYTES = 1_000_000  # largest file that describes an experiment


def resolve(data: Mapping[str, Any]) -> Experiment:
    """Complete and check an experiment given as in YAML."""
    return validated(Experiment, dict(data))


def resolve_trial(data: Mapping[str, Any]) -> Trial:
    """Complete and check an experiment with one optimizer, faster than `resolve`."""
    completed = complete(data)
    (optimizer,) = completed.pop("optimizers")
    return validated(Trial, completed | {"optimizer": optimizer})


def load_experiment(path: Path | None = None, **given: Any) -> Experiment:
    """Read, complete and check an experiment; the arguments are as in `read_experiment`.

    An optimizer with an import path is imported, to find out which settings it accepts.
    """
    data = read_experiment(path, **given)
    if "grid" in data:
        raise ConfigError(f"{path} has a grid, which makes it a sweep: amsgrad-exp sweep --config {path}")
    return resolve(data)


def read_complete(path: Path) -> Experiment:
    """Read a complete experiment, as `Experiment.to_yaml` writes it, without importing what it names."""
    data = read_yaml(path)
    if isinstance(listed := data.get("optimizers"), list):
        data["optimizers"] = [validated(OptimizerSettings, settings) for settings in listed]
    return resolve(data)


def read_experiment(
    path: Path | None = None,
    *,
    optimizers: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """Read a YAML file, or take the reference experiment, and apply the command line's options; `resolve` completes it.

    Args:
        optimizers: names or labels of the optimizers to run; those of the file keep the settings that it gives them.
        settings: settings of every optimizer, such as lr.
        options: own settings of every optimizer, each written as in YAML.
        constants: constants of the problem.
        overrides: top-level keys; None keeps the file's value.
    """
    data = read_yaml(path) if path else {}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    in_file = named(data.get("problem", "online"), "problem")
    if overrides.get("problem") in (None, in_file["name"]):
        overrides["problem"] = in_file
    data |= overrides
    if "name" in (constants or {}):
        raise ConfigError("problem: its name is not a constant: set it with --problem")
    data["problem"] = named(data["problem"], "problem") | dict(constants or {})
    listed = data.get("optimizers", ["adam", "amsgrad"])
    if isinstance(listed, list):
        entries = [named(entry, "optimizers") for entry in listed]
        if optimizers:
            entries = [
                entry
                for name in optimizers
                for entry in [each for each in entries if name in (each["name"], each.get("label"))] or [{"name": name}]
            ]
        if options:
            read = {name: option_value(name, text) for name, text in options.items()}
            settings = {**(settings or {}), "options": read}
        data["optimizers"] = [with_settings(entry, settings or {}) for entry in entries]
    return data


def with_settings(entry: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Update an optimizer's entry with these settings; options are merged."""
    changed = {**entry, **settings}
    if isinstance(entry.get("options"), dict) and "options" in settings:
        changed["options"] = entry["options"] | settings["options"]
    return changed


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that contains a mapping."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path} is not an experiment: it is larger than {MAX_BYTES:,} bytes")
        data = load(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} {error}") from error
    if not isinstance(data, dict):
        what = "is empty" if data is None else "is not an experiment"
        raise ConfigError(f"{path} {what}: it must be a mapping such as 'steps: 1000'")
    return data


def run_command(trial: Trial) -> str:
    """Return the ``amsgrad-exp run`` command that repeats a trial."""
    return command(trial.document())


def command(experiment: Mapping[str, Any]) -> str:
    """Return the ``amsgrad-exp run`` command for an experiment with one optimizer.

    The experiment is given as in YAML, with names as mappings. The experiment's name and the optimizer's label are left
    out, because they do not change the result.
    """
    problem, (optimizer,) = experiment["problem"], experiment["optimizers"]
    words = ["amsgrad-exp", "run", "--problem", problem["name"]]
    for name, value in problem.items():
        if name != "name":
            words += ["--set", f"{name}={','.join(map(str, value)) if isinstance(value, list | tuple) else value}"]
    words += optimizer_words(optimizer)
    for name in FLAGS:
        words += [f"--{name.replace('_', '-')}={experiment[name]}"] if name in experiment else []
    words += ["--no-fast-forward"] if experiment.get("fast_forward") is False else []
    return shlex.join(words)


def optimizer_words(optimizer: Mapping[str, Any]) -> list[str]:
    """Return the words of a command that name an optimizer, given as in YAML, and set its settings."""
    words = ["--optimizer", optimizer["name"]]
    words += [f"--{name}={optimizer[name]}" for name in SETTINGS if name in optimizer]
    words += [f"--shape={optimizer['shape']}"] if optimizer.get("shape") else []
    form = {"optimized_update": False} if optimizer.get("optimized_update") is False else {}
    for name, value in {**(optimizer.get("options") or {}), **form}.items():
        words += ["--option", f"{name}={json.dumps(value)}"]
    return words
