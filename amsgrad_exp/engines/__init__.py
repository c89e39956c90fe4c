"""Engines: what advances an optimizer on a problem. They know nothing of files, labml or screens."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.experiment import COMPILED_DTYPES, Trial

if TYPE_CHECKING:
    from amsgrad_exp.engines.base import Engine


def has_rule(trial: Trial) -> bool:
    """Whether a trial is run by the rule of a registered optimizer, for which torch is not needed."""
    return trial.engine != "torch" and trial.optimizer.name in OPTIMIZERS and trial.dtype in COMPILED_DTYPES


def compiles(trial: Trial) -> bool:
    """Whether a trial is run by compiled code. An imported optimizer is imported, and one of its steps recorded."""
    from amsgrad_exp.engines.compiled import alike

    try:
        return has_rule(trial) or alike(trial) is not None
    except ConfigError:
        return False


def build(trial: Trial) -> Engine:
    """The engine of a trial, at step 0.

    Raises:
        ConfigError: its optimizer cannot be imported or built, or must be compiled and cannot be.
    """
    name = "compiled" if has_rule(trial) else "torch_loop"
    engine: Engine = importlib.import_module(f"amsgrad_exp.engines.{name}").build(trial)
    return engine


def shared_between(trial: Trial) -> str | None:
    """What a trial's optimizer ties together, as `engines.torch_shared` finds out; None of a registered optimizer.

    Raises:
        ConfigError: the optimizer cannot be imported or built.
    """
    settings = trial.optimizer
    if settings.name in OPTIMIZERS:
        return None
    from amsgrad_exp.engines.torch_shared import shared_between
    from amsgrad_exp.engines.torch_trial import drive_of
    from amsgrad_exp.optimizers.importing import import_optimizer

    try:
        imported = import_optimizer(settings.name)
        drive = drive_of(imported, lr=settings.lr, arguments=settings.arguments, dtype="float64", shape=settings.shape)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return shared_between(imported, drive, lr=settings.lr, arguments=settings.arguments)
