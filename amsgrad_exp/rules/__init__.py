"""Registers the optimizers as rules, one per file: to add one, write its file and add its name here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from amsgrad_exp.rules.rule import Optimizer, Options, Rule

if TYPE_CHECKING:
    from amsgrad_exp.rules.settings import OptimizerSettings

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
    """A registered optimizer's options; omitted ones have their defaults."""
    form = {} if settings.optimized_update is None else {"optimized_update": settings.optimized_update}
    return OPTIMIZERS[settings.name].options.model_validate(settings.options | form)


def rule_of(settings: OptimizerSettings) -> Rule:
    """The update rule of a registered optimizer with these settings."""
    return OPTIMIZERS[settings.name].rule(options_of(settings))


def hyper_of(settings: OptimizerSettings) -> Any:
    """The hyper-parameters of `rule_of`, in double precision."""
    known = options_of(settings).model_dump() | settings.model_dump(include={"lr", "beta1", "beta2", "eps"})
    return rule_of(settings).hyper_from(known)


def arguments_of(settings: OptimizerSettings) -> dict[str, Any]:
    """The keyword arguments, except lr, with which torch builds an optimizer with these settings."""
    known = OPTIMIZERS.get(settings.name)
    return known.arguments(settings) if known and known.arguments else settings.arguments
