"""Registers the optimizers; to add one, write its rule in the module of its family and list it here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amsgrad_exp.rules.adabound import ADABOUND, AMSBOUND
from amsgrad_exp.rules.adam import ADABELIEF, ADAM, ADAMAX, ADAMW, RADAM, YOGI
from amsgrad_exp.rules.amsgrad import ADAMX, AMSGRAD, PADAM
from amsgrad_exp.rules.delayed import ACPROP, ADASHIFT, ADOPT, AVAGRAD
from amsgrad_exp.rules.nesterov import ADAN, NADAM
from amsgrad_exp.rules.rule import Optimizer, Options, Rule
from amsgrad_exp.rules.sgd import LION, SGD, SIGNSGD
from amsgrad_exp.rules.sums import ADADELTA, ADAGRAD, ADAMNC, NOSADAM, RMSPROP

if TYPE_CHECKING:
    from amsgrad_exp.rules.settings import OptimizerSettings

__all__ = ["OPTIMIZERS", "Optimizer", "Options", "Rule", "arguments_of", "hyper_of", "options_of", "rule_of"]

OPTIMIZERS: dict[str, Optimizer] = {
    optimizer.name: optimizer
    for optimizer in (
        *(ADAM, ADAMW, ADAMAX, NADAM, RADAM, AMSGRAD, ADAMNC, ADAMX, NOSADAM, PADAM, YOGI, ADABELIEF, ACPROP),
        *(ADABOUND, AMSBOUND, ADASHIFT, ADOPT, AVAGRAD, ADAN, LION, RMSPROP, ADAGRAD, ADADELTA, SGD, SIGNSGD),
    )
}


def options_of(settings: OptimizerSettings) -> Any:
    """Return a registered optimizer's options; omitted ones have their defaults."""
    form = {} if settings.optimized_update is None else {"optimized_update": settings.optimized_update}
    return OPTIMIZERS[settings.name].options.model_validate(settings.options | form)


def rule_of(settings: OptimizerSettings) -> Rule:
    """Return the update rule of a registered optimizer with these settings."""
    return OPTIMIZERS[settings.name].rule(options_of(settings))


def hyper_of(settings: OptimizerSettings) -> Any:
    """Return the hyper-parameters of `rule_of`, in double precision."""
    options = options_of(settings)
    known = options.model_dump() | settings.model_dump(include={"lr", "beta1", "beta2", "eps"})
    return OPTIMIZERS[settings.name].rule(options).hyper_from(known)


def arguments_of(settings: OptimizerSettings) -> dict[str, Any]:
    """Return the keyword arguments, except lr, with which torch builds an optimizer with these settings."""
    known = OPTIMIZERS.get(settings.name)
    return known.arguments(settings) if known and known.arguments else settings.arguments
