"""Builds an optimizer from its name, and runs it on the probes in double precision."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import Parameter

from amsgrad_exp.engines.torch_step import raised, sees_gradients_alone, update_of
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.identification.probes import Floats, Observed, Probe
from amsgrad_exp.numbers import option_value
from amsgrad_exp.optimizers.importing import PLAIN, Imported, said
from amsgrad_exp.rules import OPTIMIZERS, arguments_of
from amsgrad_exp.spec.defaults import check_name, complete_settings, imported_optimizer

PUBLISHED = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}  # assumed if a constructor does not take them
BETAS = ("beta1", "beta2")
# The names of the settings in constructors, besides ``betas``.
ARGUMENTS = {"beta1": ("beta1", "b1"), "beta2": ("beta2", "b2", "alpha", "rho", "decay"), "eps": ("eps", "epsilon")}

OWN = {known.path: name for name, known in OPTIMIZERS.items() if known.path.startswith("amsgrad_exp.")}
"""The rules of this package's own classes, whose signatures do not show the defaults."""

OPTIONS = {"partial": "p", "keep_num": "n", "b3": "beta3"}  # names in constructors, and the names of these options here

RunProbe = Callable[[Probe], Floats | None]
"""A function that returns x after every `Probe.every` steps of a probe, or None if the probe cannot be run."""


@dataclass(frozen=True)
class Target:
    """An optimizer to be identified."""

    name: str
    run: RunProbe
    settings: Mapping[str, float]  # for all probes
    known: Mapping[str, Any]  # options of rules that it is known to have
    assumed: Mapping[str, float] = field(default_factory=dict)  # given neither by its constructor nor by the user

    def observe(self, probes: Sequence[Probe]) -> Observed:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)  # some optimizers use the default dtype for their own numbers
        try:
            observed = {probe.name: self.run(probe) for probe in probes}
            again, xs = (np.asarray(each) for each in (self.run(probes[0]), observed[probes[0].name]))
        finally:
            torch.set_default_dtype(before)
        if not np.array_equal(again, xs, equal_nan=True):
            raise ConfigError(
                f"{self.name} is not deterministic: it draws random numbers, or shares something between instances"
            )
        if not any(xs is not None and np.isfinite(xs).any() for xs in observed.values()):
            raise RunFailed(f"{self.name}: x is not finite at any step of any probe")
        return observed


def built(name: str, settings: Mapping[str, float], options: Mapping[str, str]) -> Target:
    """Build an optimizer from a registered name or an import path."""
    check_name(name)
    given = {key: option_value(key, text) for key, text in options.items()}
    rule = OWN.get(name, name)
    if name in OPTIMIZERS or (name in OWN and given.keys() <= OPTIMIZERS[rule].options.model_fields.keys()):
        return _registered(rule, settings, given)
    return _imported(name, settings, given)


def _settings(probe: Probe) -> dict[str, float]:
    return {"beta1": float(probe.beta1[0]), "beta2": probe.beta2, "eps": probe.eps}


def _registered(name: str, settings: Mapping[str, float], given: dict[str, Any]) -> Target:
    form = given.pop("optimized_update", None)
    known = complete_settings({"name": name, **settings, "options": given, "optimized_update": form})
    kind = imported_optimizer(OPTIMIZERS[name].path)

    def arguments(probe: Probe) -> dict[str, Any]:
        taken = {key: value for key, value in _settings(probe).items() if getattr(known, key) is not None}
        return arguments_of(known.model_copy(update=taken))

    numbers = {key: value for key, value in known.options.items() if _is_number(value)}
    decay: dict[str, Any] = {key: value for key, value in numbers.items() if key == "weight_decay"}
    return Target(name, functools.partial(_run_torch, name, kind, arguments), {**settings, **decay}, numbers)


def _imported(name: str, settings: Mapping[str, float], given: dict[str, Any]) -> Target:
    kind = imported_optimizer(name)
    own_signature = inspect.signature(kind.maker).parameters
    of_optax = "learning_rate" in own_signature
    if not of_optax and not kind.takes("lr"):
        raise ConfigError(f"{name} takes no lr, which the probes set")
    parameters = own_signature if of_optax else kind.parameters
    defaults = {key: parameter.default for key, parameter in parameters.items()} | given
    betas = defaults.get("betas")
    rest = tuple(betas[2:]) if isinstance(betas, tuple | list) else ()
    several = "betas" in parameters and "betas" not in given
    taken = {
        argument: setting
        for setting, names in ARGUMENTS.items()
        for argument in names
        if argument not in given and not (several and setting in BETAS)
        if defaults.get(argument) is inspect.Parameter.empty or _is_number(defaults.get(argument))
    }
    if defaults.get("eps_root") == defaults.get("eps") and "eps" in taken:
        taken["eps_root"] = "eps"  # for an optimizer that has the same ε twice

    def arguments(probe: Probe) -> dict[str, Any]:
        own = _settings(probe)
        pair = {"betas": (own["beta1"], own["beta2"], *rest)} if several else {}
        return {**{argument: own[setting] for argument, setting in taken.items()}, **pair, **given}

    set_by_us = {*taken.values(), *(BETAS if several else ()), *settings}
    assumed = {key: value for key, value in PUBLISHED.items() if key not in set_by_us}
    known = {OPTIONS.get(key, key): value for key, value in defaults.items() if _is_number(value)}
    known |= {"beta3": rest[0]} if rest else {}
    decay = {"weight_decay": known["weight_decay"]} if "weight_decay" in known else {}
    run = _of_optax(name, kind.maker, arguments) if of_optax else functools.partial(_run_torch, name, kind, arguments)
    return Target(name, run, {**assumed, **settings, **decay}, known, assumed)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _run_torch(name: str, kind: Imported, arguments: Callable[[Probe], dict[str, Any]], probe: Probe) -> Floats | None:
    gradients, pieces = torch.from_numpy(probe.gradients), probe.elements if probe.apart else 1
    params = [Parameter(part.clone()) for part in torch.from_numpy(probe.start).chunk(pieces)]
    try:
        optimizer = kind.make(PLAIN.arrange([params]), lr=float(probe.lr[0]), arguments=arguments(probe))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    changes_beta1 = probe.changes_beta1
    if changes_beta1 and not all(_set_beta1(group, probe.beta1[0]) for group in optimizer.param_groups):
        return None
    update = update_of(optimizer)
    lean = all(sees_gradients_alone(optimizer, param) for param in params)
    lrs, beta1s = probe.lr.tolist(), probe.beta1.tolist()
    xs = np.empty((probe.steps // probe.every, probe.elements))
    for t in range(probe.steps):
        for group in optimizer.param_groups:
            group["lr"] = lrs[t]
            if changes_beta1:
                _set_beta1(group, beta1s[t])
        parts = gradients[t].chunk(pieces)
        try:
            if lean:
                for param, part in zip(params, parts, strict=True):
                    param.grad = part.clone()
                update()
            else:
                optimizer.zero_grad()
                for param, part in zip(params, parts, strict=True):
                    (param * part).sum().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        except Exception as error:
            raise RunFailed(f'{name}, probe "{probe.name}": {raised(error, t + 1)}') from error
        if (t + 1) % probe.every == 0:
            xs[t // probe.every] = torch.cat([param.detach() for param in params]).numpy()
    return xs


def _set_beta1(group: dict[str, object], beta1: float) -> bool:
    """Set another β1 in a group; return False if the group has none."""
    betas = group.get("betas")
    if isinstance(betas, tuple | list) and len(betas) > 1:
        group["betas"] = (beta1, *betas[1:])
    elif "beta1" in group:
        group["beta1"] = beta1
    else:
        return False
    return True


def _of_optax(name: str, factory: Callable[..., Any], arguments: Callable[[Probe], dict[str, Any]]) -> RunProbe:
    """Return a function that runs an optax optimizer, made by a factory from ``learning_rate`` and other arguments."""
    try:
        import jax
        import jax.numpy as jnp
        import optax
    except ImportError as error:
        raise ConfigError(
            f"{name} takes a learning_rate, as optax does, and optax is not installed: {error}"
        ) from error

    @functools.cache
    def scanned(rates: float | tuple[float, ...], given: tuple[tuple[str, Any], ...]) -> Any:
        """Return a function that computes x after every step from the start and all gradients."""
        table = jnp.asarray(rates)
        schedule = (lambda count: table[count]) if isinstance(rates, tuple) else rates
        try:
            optimizer = factory(learning_rate=schedule, **dict(given))
        except Exception as error:
            raise ConfigError(f"optimizer {name} cannot be built: {said(error)}") from error

        def step(carry: Any, gradient: Any) -> Any:
            params, state = carry
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        return jax.jit(lambda start, gradients: jax.lax.scan(step, (start, optimizer.init(start)), gradients)[1])

    def run(probe: Probe) -> Floats | None:
        if probe.changes_beta1:
            return None
        pieces = [slice(i, i + 1) for i in range(probe.elements)] if probe.apart else [slice(None)]
        with jax.enable_x64(True):
            start = {f"x{i}": jnp.asarray(probe.start[piece]) for i, piece in enumerate(pieces)}
            gradients = {f"x{i}": jnp.asarray(probe.gradients[:, piece]) for i, piece in enumerate(pieces)}
            rates = tuple(probe.lr.tolist()) if np.ptp(probe.lr) else float(probe.lr[0])
            compute = scanned(rates, tuple(arguments(probe).items()))
            try:
                xs = compute(start, gradients)
            except Exception as error:
                reason = f"the optimizer raised {type(error).__name__}: {said(error)}"
                raise RunFailed(f'{name}, probe "{probe.name}": {reason}') from error
            return np.concatenate([np.asarray(xs[key]) for key in sorted(xs)], axis=1)[probe.every - 1 :: probe.every]

    return run
