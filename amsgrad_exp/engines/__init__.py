"""Engines: what advances an optimizer on a problem. They know nothing of files, labml or screens."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.rules import OPTIMIZERS

if TYPE_CHECKING:
    from amsgrad_exp.engines.base import Engine
    from amsgrad_exp.spec.experiment import Trial


COMPILED_DTYPES = "float32", "float64"


def _no_rule(trial: Trial) -> str | None:
    if trial.dtype not in COMPILED_DTYPES:
        known = " and ".join(COMPILED_DTYPES)
        return f"the compiled engine has {known}, not {trial.dtype}: take engine torch or auto"
    if trial.optimizer.name not in OPTIMIZERS:
        return f"optimizer {trial.optimizer.name} has no rule for the compiled engine: take engine torch or auto"
    return None


@dataclass(frozen=True)
class Kind:
    """A kind of engine.

    Attributes:
        builder: the module whose ``build`` makes one for a trial; imported only then.
        refuses: why it cannot run a trial, or None.
    """

    builder: str
    refuses: Callable[[Trial], str | None]


ENGINES = {
    "compiled": Kind("amsgrad_exp.engines.compiled", _no_rule),
    "torch": Kind("amsgrad_exp.engines.torch_loop", lambda trial: None),
}
"""In order of preference."""


def choose(trial: Trial) -> str:
    """The name of the engine that runs a trial: the one it asks for, or the first that does not refuse.

    Raises:
        ConfigError: none can.
    """
    names = list(ENGINES) if trial.engine == "auto" else [trial.engine]
    refusals = [ENGINES[name].refuses(trial) for name in names]
    for name, refusal in zip(names, refusals, strict=True):
        if refusal is None:
            return name
    raise ConfigError(str(refusals[-1]))


def build(trial: Trial) -> Engine:
    """The engine of a trial, at step 0.

    Raises:
        ConfigError: its optimizer cannot be imported or built, or not be run on many seeds.
    """
    engine: Engine = importlib.import_module(ENGINES[choose(trial)].builder).build(trial)
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
