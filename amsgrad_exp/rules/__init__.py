"""Optimizers as rules, one a file, and their registry: a new one is its file and its name here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from amsgrad_exp.rules.base import Optimizer, Options, Rule

if TYPE_CHECKING:
    from amsgrad_exp.spec.optimizer import OptimizerSettings

__all__ = ["OPTIMIZERS", "Optimizer", "Options", "Rule", "arguments_of", "hyper_of", "options_of", "rule_of"]

NAMES = (
    "adam",
    "adamw",
    "adamax",
    "nadam",
    "radam",
    "amsgrad",
    "adamnc",
    "adamx",
    "nosadam",
    "padam",
    "yogi",
    "adabelief",
    "acprop",
    "adabound",
    "amsbound",
    "adashift",
    "adopt",
    "avagrad",
    "adan",
    "lion",
    "rmsprop",
    "adagrad",
    "adadelta",
    "sgd",
    "signsgd",
)
OPTIMIZERS: dict[str, Optimizer] = {name: importlib.import_module(f"{__name__}.{name}").OPTIMIZER for name in NAMES}


def options_of(settings: OptimizerSettings) -> Any:
    """A registered optimizer's options, with defaults for those that its settings leave out."""
    form = {} if settings.optimized_update is None else {"optimized_update": settings.optimized_update}
    return OPTIMIZERS[settings.name].options.model_validate(settings.options | form)


def rule_of(settings: OptimizerSettings) -> Rule:
    """The rule that a registered optimizer follows under these settings."""
    return OPTIMIZERS[settings.name].rule(options_of(settings))


def hyper_of(settings: OptimizerSettings) -> Any:
    """The hyper-parameters of `rule_of`, in double precision."""
    known = options_of(settings).model_dump() | settings.model_dump(include={"lr", "beta1", "beta2", "eps"})
    return rule_of(settings).hyper_from(known)


def arguments_of(settings: OptimizerSettings) -> dict[str, Any]:
    """Keyword arguments, other than lr, of the class that runs these settings in torch."""
    known = OPTIMIZERS.get(settings.name)
    return known.arguments(settings) if known and known.arguments else settings.arguments
