"""Attacks an optimizer: prepares it, searches for a failing problem, shrinks and confirms it, and stores the outcome.

``<out>/<optimizer>/<id>/`` contains ``attack.json``, the outcome. If the optimizer fails on a problem, it also contains
``counterexample.yaml``, which `amsgrad-exp run --config` runs, and in ``counterexample/`` the runs that confirm it.
"""

from __future__ import annotations

import contextlib
import functools
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from amsgrad_exp import engines
from amsgrad_exp.attacks.attack_record import Attack, Counterexample, Evidence, Shrunk
from amsgrad_exp.attacks.confirm import Confirmation, all_cases, confirm
from amsgrad_exp.attacks.search import FIRST_STEPS, Fall, Limits, Search, Target
from amsgrad_exp.attacks.slope_sequences import canonical, in_words
from amsgrad_exp.engines.fixed import Slopes
from amsgrad_exp.errors import ConfigError, NoSteadyState
from amsgrad_exp.problems import Cycle
from amsgrad_exp.records.files import sha256, write_atomically
from amsgrad_exp.records.summary import Origin
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.spec.defaults import published
from amsgrad_exp.spec.read import load_experiment
from amsgrad_exp.theory import drift_of
from amsgrad_exp.watch import UNWATCHED, Watch

COMPILED_BATCH, LITERAL_BATCH = 4096, 48  # problems in a batch, with and without compiled code
ALL_AND_RANDOM = 60_000  # problems to try: all families (35,029 at the default longest period), then random ones
SUBSET, LONGEST_OF_SUBSET = 192, 128  # problems to try, and their longest period, without compiled code
MEMORIES = 4  # the first drift is measured after this many times the second moment's memory, 1/(1 − β2)
FIRST_OF_UNKNOWN = 4096  # steps before the first drift is measured if the optimizer's memory is unknown


def target(name: str, settings: Mapping[str, Any] | None = None, options: Mapping[str, str] | None = None) -> Target:
    """Prepare an optimizer with its own defaults, except for these settings and options; an import is tested."""
    own = published(name, options or {}) | dict(settings or {})
    experiment = load_experiment(
        optimizers=[name], settings=own, options=options, problem="cycle", constants={"slopes": "2,-1"}, steps=1
    )
    (complete,) = experiment.optimizers
    first = FIRST_STEPS if name in OPTIMIZERS else FIRST_OF_UNKNOWN
    while first * (1 - (complete.beta2 or 0.0)) < MEMORIES:
        first *= 2
    if name in OPTIMIZERS:
        from amsgrad_exp.engines.fixed import compiled_fixed

        make = functools.partial(compiled_fixed, complete)
        theory = functools.cache(functools.partial(_theory, complete))
        return Target(complete, make, COMPILED_BATCH, first, theory, problems=ALL_AND_RANDOM)
    from amsgrad_exp.engines.recorded import program_of
    from amsgrad_exp.engines.recorded.literal_fixed import (
        LiteralFixedIterates,
        recorded_fixed,
        require_deterministic,
    )

    shared = engines.shared_between(experiment.trials()[0])
    require_deterministic(complete)
    try:
        program = program_of(complete, "float64")
    except ValueError as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    if not isinstance(program, str):
        compiled = functools.partial(recorded_fixed, program, complete)
        return Target(complete, compiled, COMPILED_BATCH, first, shared_between=shared)
    return Target(
        complete,
        functools.partial(LiteralFixedIterates, complete),
        LITERAL_BATCH,
        first,
        problems=SUBSET,
        max_period=LONGEST_OF_SUBSET,
        shared_between=shared,
        not_compiled=program,
    )


def _theory(settings: OptimizerSettings, slopes: Slopes) -> float | None:
    try:
        d = drift_of(Cycle(slopes=slopes), settings)
    except NoSteadyState:
        return None
    return None if np.isnan(d) else float(-np.sign(sum(slopes)) * d)


def attack(target: Target, limits: Limits, out: Path, executor: Executor, watch: Watch = UNWATCHED) -> Attack:
    """Search for a problem on which an optimizer fails, shrink it, confirm it, and store the outcome under ``out``.

    Confirming takes time beyond the limits. ``executor`` runs batches on threads of this process. If ``watch`` asks to
    stop, the results so far are stored.
    """
    started, begun = datetime.now(UTC), time.monotonic()
    name = target.settings.name
    directory = out / name / uuid.uuid4().hex
    directory.mkdir(parents=True)
    try:
        search = Search(target, limits, executor, watch)
        if target.not_compiled:
            watch.note(
                f"{name} is not compiled, because {target.not_compiled}: every step on {search.total:,} problems is "
                "taken one by one, which takes seconds to minutes each (--problems or --seconds limits it)"
            )
        found = search.run()
        candidates = found.candidates()
        way = search.shrink(candidates[0]) if candidates else []
        searched = time.monotonic() - begun
        counterexample = _confirmed(target, _worth_confirming(way, candidates), directory, watch)
    except BaseException:
        with contextlib.suppress(OSError):
            directory.rmdir()  # fails if something was found already
        raise
    result = Attack(
        optimizer=name,
        problems=found.problems,
        falls=found.falls,
        survives=found.survives,
        unsettled=found.unsettled,
        found=counterexample is not None and counterexample.confirmed,
        counterexample=counterexample,
        smallest_period=min((len(fall.slopes) for fall in (*found.fallen, *way)), default=None),
        seconds=round(time.monotonic() - begun, 3),
        shrinking=tuple(
            Shrunk(problem=in_words(fall.slopes), period=len(fall.slopes), drift=fall.outward) for fall in way
        ),
        settings=target.settings,
        shared_between=target.shared_between,
        limits=limits,
        search_seconds=round(searched, 3),
        interrupted=watch.should_stop(),
        finished=search.finished,
        started=started,
        origin=Origin.here(name),
        directory=directory,
        total=search.total,
    )
    result.write()
    return result


def _worth_confirming(way: Sequence[Fall], candidates: Sequence[Fall]) -> Iterable[Fall]:
    """Return the problems to confirm, in order: the shrunk problem, the unshrunk one, and the quickest fall."""
    if not candidates:
        return ()
    quickest = min(candidates, key=lambda fall: fall.crossing)
    return dict.fromkeys((way[-1], way[0], replace(quickest, slopes=canonical(quickest.slopes))))


def _confirmed(target: Target, falls: Iterable[Fall], directory: Path, watch: Watch) -> Counterexample | None:
    """Return the first fall that is confirmed, else the first fall; None if there is no fall."""
    found = None
    for fall in falls:
        config = next(all_cases(target.settings, fall))[0].to_yaml().encode()
        path = directory / "counterexample.yaml"
        if found is None:
            write_atomically(path, config)
        confirmation = confirm(target.settings, fall, directory, watch)
        if confirmation.confirmed or found is None:
            write_atomically(path, config)
            found = _counterexample(confirmation, path)
        if confirmation.confirmed or watch.should_stop():
            break
    return found


def _counterexample(confirmation: Confirmation, config: Path) -> Counterexample:
    slopes, runs = confirmation.fall.slopes, Evidence(confirmation.runs, ()).of_each_schedule
    decreasing, constant = runs.get("inv-sqrt"), runs.get("constant")
    return Counterexample(
        period=len(slopes),
        slopes=slopes,
        optimum=-1.0 if sum(slopes) > 0 else 1.0,
        config=str(config),
        confirmed=confirmation.confirmed,
        regret=decreasing.result.regret if decreasing else None,
        limit_regret=constant.result.limit_regret if constant else None,
        runs=tuple(run.run_id for run in confirmation.runs),
        config_sha256=sha256(config.read_bytes()),
    )
