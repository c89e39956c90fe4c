"""Prepares the optimizer to attack: its settings, its batches of runs and the theory's prediction."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from amsgrad_exp import engines
from amsgrad_exp.attacks.drift import FIRST_STEPS, MakeLanes
from amsgrad_exp.engines.held import Slopes
from amsgrad_exp.errors import ConfigError, NoSteadyState
from amsgrad_exp.problems import Cycle
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.spec.defaults import published
from amsgrad_exp.spec.read import load_experiment
from amsgrad_exp.theory import drift_of

COMPILED_LANES, LANES_APART = 4096, 48  # sizes of batches
ALL_AND_RANDOM = 60_000  # problems: all families, 35,029 at the default longest period, then random ones
SUBSET, LONGEST_OF_SUBSET = 192, 128  # problems, and their longest period, if each problem is a parameter
MEMORIES = 4  # the first drift is measured after this many times the second moment's memory, 1/(1 − β2)
FIRST_OF_UNKNOWN = 4096  # steps before the first drift of an optimizer whose memory is unknown


@dataclass(frozen=True)
class Target:
    """An optimizer to attack.

    Attributes:
        settings: its complete settings.
        make_lanes: makes a batch of its runs.
        at_once: the size of a batch.
        first: the number of steps after which the first drift is measured, longer than the second moment's memory.
        theory: the drift D on given slopes, positive towards the worst end; None if it is unknown.
        problems: how many problems are tried until one fails; None for all families and no random ones.
        max_period: the longest period of a problem; None for that of the limits.
        shared_between: what the optimizer ties together, as `engines.shared_between`.
    """

    settings: OptimizerSettings
    make_lanes: MakeLanes
    at_once: int
    first: int
    theory: Callable[[Slopes], float | None] = lambda slopes: None
    problems: int | None = None
    max_period: int | None = None
    shared_between: str | None = None


def target(name: str, settings: Mapping[str, Any] | None = None, options: Mapping[str, str] | None = None) -> Target:
    """Prepare an optimizer with its own defaults.

    Args:
        name: a registered name, or an import path, which is imported and tried for a few steps.
        settings: values of lr, beta1, beta2 and eps that differ from the defaults.
        options: values of its other settings that differ from the defaults, each written as in YAML.

    Raises:
        ConfigError: there is no such optimizer or setting, or the optimizer cannot be attacked.
        RunFailed: the optimizer raised an exception, or x was never finite.
    """
    own = published(name, options or {}) | dict(settings or {})
    experiment = load_experiment(
        optimizers=[name], settings=own, options=options, problem="cycle", constants={"slopes": "2,-1"}, steps=1
    )
    (complete,) = experiment.optimizers
    first = FIRST_STEPS if name in OPTIMIZERS else FIRST_OF_UNKNOWN
    while first * (1 - (complete.beta2 or 0.0)) < MEMORIES:
        first *= 2
    if name in OPTIMIZERS:
        from amsgrad_exp.engines.compiled_held import CompiledHeldLanes

        make = functools.partial(CompiledHeldLanes, complete)
        theory = functools.cache(functools.partial(_theory, complete))
        return Target(complete, make, COMPILED_LANES, first, theory, problems=ALL_AND_RANDOM)
    from amsgrad_exp.engines.recorded import program_of
    from amsgrad_exp.engines.recorded.held import LiteralHeldLanes, RecordedHeldLanes, require_deterministic

    shared = engines.shared_between(experiment.trials()[0])
    require_deterministic(complete)
    try:
        program = program_of(complete, "float64")
    except ValueError as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    if isinstance(program, str):
        literal = functools.partial(LiteralHeldLanes, complete)
        few: dict[str, Any] = {"problems": SUBSET, "max_period": LONGEST_OF_SUBSET}
        return Target(complete, literal, LANES_APART, first, shared_between=shared, **few)
    compiled = functools.partial(RecordedHeldLanes, program, complete)
    return Target(complete, compiled, COMPILED_LANES, first, shared_between=shared)


def _theory(settings: OptimizerSettings, slopes: Slopes) -> float | None:
    try:
        d = drift_of(Cycle(slopes=slopes), settings)
    except NoSteadyState:
        return None
    return None if np.isnan(d) else float(-np.sign(sum(slopes)) * d)
