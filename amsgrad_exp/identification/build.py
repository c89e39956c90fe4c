"""Builds an optimizer from its name, ready to run on the probes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch.nn import Parameter
from torch.optim.optimizer import Optimizer

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.identification.observe import observe
from amsgrad_exp.identification.probes import Floats, Probe
from amsgrad_exp.optimizers.importing import PLAIN
from amsgrad_exp.rules import OPTIMIZERS, arguments_of
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.spec.complete import check_name, complete
from amsgrad_exp.spec.foreign import imported_optimizer
from amsgrad_exp.spec.read import option_value

PUBLISHED = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
"""What is assumed of a constructor that takes no such setting."""

ARGUMENTS = {
    "beta1": ("beta1", "b1"),
    "beta2": ("beta2", "b2", "alpha", "rho", "decay"),
    "eps": ("eps", "epsilon"),
}
"""What constructors call the settings, beside ``betas``."""

BETAS = ("beta1", "beta2")

OPTIONS = {"partial": "p", "keep_num": "n", "b3": "beta3"}
"""What constructors call options of rules that have other names here."""


@dataclass(frozen=True)
class Target:
    """An optimizer to be identified.

    Attributes:
        observe: runs it on probes, as `observe.observe` does.
        settings: the settings for all probes.
        known: options of rules that it is known to have.
        assumed: the settings that its constructor does not take and the user does not give.
    """

    observe: Callable[[Sequence[Probe]], dict[str, Floats | None]]
    settings: Mapping[str, float]
    known: Mapping[str, Any]
    assumed: Mapping[str, float] = field(default_factory=dict)


def built(name: str, settings: Mapping[str, float], options: Mapping[str, str]) -> Target:
    """Build an optimizer from a registered name or an import path.

    Raises:
        ConfigError: there is no such optimizer, or it takes no such setting or option.
    """
    check_name(name)
    return _registered(name, settings, options) if name in OPTIMIZERS else _imported(name, settings, options)


def _registered(name: str, settings: Mapping[str, float], options: Mapping[str, str]) -> Target:
    given = {key: option_value(key, text) for key, text in options.items()}
    form = given.pop("optimized_update", None)
    entry = {"name": name, **settings, "options": given, "optimized_update": form}
    known = OptimizerSettings.model_validate(complete({"optimizers": [entry]})["optimizers"][0])
    kind = imported_optimizer(OPTIMIZERS[name].path)

    def make(params: list[Parameter], probe: Probe) -> Optimizer:
        own = {"beta1": float(probe.beta1[0]), "beta2": probe.beta2, "eps": probe.eps}
        taken = {key: value for key, value in own.items() if getattr(known, key) is not None}
        arguments = arguments_of(known.model_copy(update=taken))
        return kind.make(PLAIN.arrange([params]), lr=float(probe.lr[0]), arguments=arguments)

    numbers = {key: value for key, value in known.options.items() if _is_number(value)}
    decay: dict[str, Any] = {"weight_decay": numbers["weight_decay"]} if "weight_decay" in numbers else {}
    return Target(functools.partial(observe, name, make), {**settings, **decay}, numbers)


def _imported(name: str, settings: Mapping[str, float], options: Mapping[str, str]) -> Target:
    kind = imported_optimizer(name)
    given = {key: option_value(key, text) for key, text in options.items()}
    own_signature = inspect.signature(kind.maker).parameters if callable(kind.maker) else {}
    of_optax = "learning_rate" in own_signature
    if not of_optax and not kind.takes("lr"):
        raise ConfigError(f"optimizers: {name} takes no lr, which the probes set")
    parameters = own_signature if of_optax else kind.parameters
    defaults = {key: parameter.default for key, parameter in parameters.items()} | given
    betas = defaults.get("betas")
    rest = tuple(betas[2:]) if isinstance(betas, tuple | list) else ()
    several = "betas" in parameters and "betas" not in given
    taken = {
        argument: setting
        for setting, names in ARGUMENTS.items()
        for argument in names
        if argument not in given and not (several and setting in BETAS) and _takes(defaults, argument)
    }
    if defaults.get("eps_root") == defaults.get("eps") and "eps" in taken:
        taken["eps_root"] = "eps"  # of one that has the same ε twice

    def arguments(probe: Probe) -> dict[str, Any]:
        own = {"beta1": float(probe.beta1[0]), "beta2": probe.beta2, "eps": probe.eps}
        pair = {"betas": (own["beta1"], own["beta2"], *rest)} if several else {}
        return {**{argument: own[setting] for argument, setting in taken.items()}, **pair, **given}

    def make(params: list[Parameter], probe: Probe) -> Optimizer:
        try:
            return kind.make(PLAIN.arrange([params]), lr=float(probe.lr[0]), arguments=arguments(probe))
        except ValueError as error:
            raise ConfigError(str(error)) from error

    said = {*taken.values(), *(BETAS if several else ()), *settings}
    assumed = {key: value for key, value in PUBLISHED.items() if key not in said}
    known = {OPTIONS.get(key, key): value for key, value in defaults.items() if _is_number(value)}
    known |= {"beta3": rest[0]} if rest else {}
    decay = {"weight_decay": known["weight_decay"]} if "weight_decay" in known else {}
    run = functools.partial(_observe_optax, name, kind.maker, arguments) if of_optax else None
    return Target(run or functools.partial(observe, name, make), {**assumed, **settings, **decay}, known, assumed)


def _observe_optax(
    name: str, factory: Callable[..., Any], arguments: Callable[[Probe], dict[str, Any]], probes: Sequence[Probe]
) -> dict[str, Floats | None]:
    try:
        from amsgrad_exp.identification import observe_optax
    except ImportError as error:
        raise ConfigError(
            f"{name} takes a learning_rate, as optax does, and optax is not installed: {error}"
        ) from error
    return observe_optax.observe(name, factory, arguments, probes)


def _takes(defaults: Mapping[str, Any], argument: str) -> bool:
    """Whether a constructor takes a number with this name, or any argument."""
    return defaults.get(argument) is inspect.Parameter.empty or _is_number(defaults.get(argument))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
