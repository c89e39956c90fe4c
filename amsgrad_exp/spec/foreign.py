"""Finds out which settings the constructor of an imported optimizer takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from amsgrad_exp.errors import ConfigError

if TYPE_CHECKING:
    from amsgrad_exp.optimizers.importing import Imported

TAKEN_AS = {"beta1": "betas", "beta2": "betas", "eps": "eps", "optimized_update": "optimized_update"}

# A reference setting is used only if the optimizer's own default is of the same kind; Adafactor's ε is a pair.
REFERENCE_KINDS: dict[str, Callable[[Any], bool]] = {
    "betas": lambda default: default is inspect.Parameter.empty or (isinstance(default, tuple) and len(default) == 2),
    "eps": lambda default: default is inspect.Parameter.empty or isinstance(default, int | float),
    "optimized_update": lambda default: isinstance(default, bool),
}


def complete_foreign(entry: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Import an optimizer and complete its settings with the defaults that its constructor takes.

    Raises:
        ConfigError: it cannot be imported, or does not take a setting that was given.
    """
    name = entry["name"]
    imported = imported_optimizer(name)
    parameters, takes_anything = imported.parameters, imported.takes_anything
    if not imported.takes("lr"):
        raise ConfigError(f"optimizers: {name} takes no lr, which every schedule sets{imported.hint({})}")
    options = entry.get("options")
    options = options if isinstance(options, dict) else {}
    taken = dict(defaults)
    for setting, argument in TAKEN_AS.items():
        if setting in entry and argument in options:
            raise ConfigError(
                f"optimizers: {name} is given {setting}, and {argument} in its options: remove one of them"
            )
        if setting in entry and not imported.takes(argument):
            raise ConfigError(f"optimizers: {name} takes no {argument}, so {setting} cannot be set")
        of_its_kind = REFERENCE_KINDS[argument]
        if argument not in parameters or argument in options or not of_its_kind(parameters[argument].default):
            taken.pop(setting, None)
    if takes_anything and ("beta1" in entry) != ("beta2" in entry):
        taken |= {"beta1": defaults["beta1"], "beta2": defaults["beta2"]}
    return {**taken, **entry}


def number_options(name: str) -> dict[str, type]:
    """Import an optimizer and find its options whose default is a number.

    The type is int only if the constructor is annotated so, because a default of 0 does not imply an integer.

    Raises:
        ConfigError: it cannot be imported.
    """
    return {
        option: int if parameter.annotation in (int, "int") else float
        for option, parameter in imported_optimizer(name).parameters.items()
        if type(parameter.default) in (int, float) and option not in ("lr", *TAKEN_AS)
    }


def imported_optimizer(name: str) -> Imported:
    """Import an optimizer.

    Raises:
        ConfigError: the path cannot be imported, or is not an optimizer.
    """
    from amsgrad_exp.optimizers.importing import import_optimizer

    try:
        return import_optimizer(name)
    except ValueError as error:
        raise ConfigError(f"optimizers: {error}") from error
