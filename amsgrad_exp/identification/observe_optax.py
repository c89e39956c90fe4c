"""Runs an optax optimizer on the probes in double precision."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.identification.probes import Floats, Probe

Factory = Callable[..., Any]


def observe(
    name: str, factory: Factory, arguments: Callable[[Probe], Mapping[str, Any]], probes: Sequence[Probe]
) -> dict[str, Floats | None]:
    """x of an optax optimizer after every `Probe.every` steps of each probe; None for a probe whose β1 changes.

    Args:
        name: the optimizer's name in messages.
        factory: makes it from its arguments and ``learning_rate``.
        arguments: the factory's further arguments for a probe.
        probes: the probes to run.

    Raises:
        ConfigError: it cannot be built, or two runs of one probe differ.
        RunFailed: it raised an exception, or x was never finite.
    """
    run = functools.cache(functools.partial(_runner, name, factory))
    observed: dict[str, Floats | None] = {}
    with jax.enable_x64(True):
        for probe in probes:
            if probe.changes_beta1:
                observed[probe.name] = None
                continue
            rates = tuple(probe.lr.tolist()) if np.ptp(probe.lr) else float(probe.lr[0])
            step = run(rates, tuple(arguments(probe).items()))
            observed[probe.name] = _iterates(name, step, probe)
            if probe is probes[0] and not np.array_equal(_iterates(name, step, probe), observed[probe.name]):  # type: ignore[arg-type]
                raise ConfigError(f"{name} is not deterministic: it draws random numbers")
    if not any(xs is not None and np.isfinite(xs).any() for xs in observed.values()):
        raise RunFailed(f"{name}: x is not finite at any step of any probe")
    return observed


def _runner(
    name: str, factory: Factory, rates: float | tuple[float, ...], arguments: tuple[tuple[str, Any], ...]
) -> Any:
    """A function that computes x after every step from the start and all gradients."""
    table = jnp.asarray(rates)
    schedule = (lambda count: table[count]) if isinstance(rates, tuple) else rates
    try:
        optimizer = factory(learning_rate=schedule, **dict(arguments))
    except Exception as error:
        raise ConfigError(f"optimizer {name} cannot be built: {' '.join(str(error).split())}") from error

    def step(carry: Any, gradient: Any) -> Any:
        params, state = carry
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.jit(lambda start, gradients: jax.lax.scan(step, (start, optimizer.init(start)), gradients)[1])


def _iterates(name: str, run: Any, probe: Probe) -> Floats:
    if probe.apart:
        pieces = range(probe.elements)
        start: Any = {f"x{i}": jnp.asarray(probe.start[i : i + 1]) for i in pieces}
        gradients: Any = {f"x{i}": jnp.asarray(probe.gradients[:, i : i + 1]) for i in pieces}
    else:
        start, gradients = jnp.asarray(probe.start), jnp.asarray(probe.gradients)
    try:
        xs = run(start, gradients)
    except Exception as error:
        line = " ".join(str(error).split())
        raise RunFailed(f'{name}, probe "{probe.name}": the optimizer raised {type(error).__name__}: {line}') from error
    parts = [xs[key] for key in sorted(xs)] if probe.apart else [xs]
    return np.concatenate([np.asarray(part) for part in parts], axis=1)[probe.every - 1 :: probe.every]
