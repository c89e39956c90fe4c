"""Writes the command that repeats an experiment."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from amsgrad_exp.spec.axis import SETTINGS
from amsgrad_exp.spec.experiment import Trial

FLAGS = ("schedule", "steps", "log_every", "engine", "dtype", "seed", "seeds")


def run_command(trial: Trial) -> str | None:
    """The ``amsgrad-exp run`` command that repeats a trial; None if only a file can express the trial."""
    return command(trial.experiment().model_dump(mode="json", exclude_none=True))


def command(experiment: Mapping[str, Any]) -> str | None:
    """The ``amsgrad-exp run`` command for an experiment with one optimizer, given as in YAML with names as mappings.

    The experiment's name and the optimizer's label are left out, because they do not change the result.
    """
    problem, (optimizer,) = experiment["problem"], experiment["optimizers"]
    if optimizer.get("optimized_update", True) is False:
        return None
    words = ["amsgrad-exp", "run", "--problem", problem["name"]]
    for name, value in problem.items():
        words += ["--set", f"{name}={_constant(value)}"] if name != "name" else []
    words += optimizer_words(optimizer)
    for name in FLAGS:
        words += [f"--{name.replace('_', '-')}={experiment[name]}"] if name in experiment else []
    words += ["--no-fast-forward"] if experiment.get("fast_forward") is False else []
    return shlex.join(words)


def optimizer_words(optimizer: Mapping[str, Any]) -> list[str]:
    """The words of a command that name an optimizer, given as in YAML, and set its settings."""
    words = ["--optimizer", optimizer["name"]]
    words += [f"--{name}={optimizer[name]}" for name in SETTINGS if name in optimizer]
    words += [f"--shape={optimizer['shape']}"] if optimizer.get("shape") else []
    for name, value in (optimizer.get("options") or {}).items():
        words += ["--option", f"{name}={json.dumps(value)}"]
    return words


def _constant(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
