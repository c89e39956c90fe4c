"""Attacks an optimizer: prepares it, searches for a failing problem, shrinks and confirms it, and stores the outcome.

``<out>/<optimizer>/<id>/`` contains ``attack.json``, the outcome. If the optimizer fails on a problem, it also contains
``counterexample.yaml``, which `amsgrad-exp run --config` runs, and in ``counterexample/`` the runs that confirm it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from amsgrad_exp import engines
from amsgrad_exp.attacks.attack_record import FOLDER, Attack, Counterexample, Evidence, Shrunk
from amsgrad_exp.attacks.search import FIRST_STEPS, Fall, Limits, Search, Target
from amsgrad_exp.attacks.slope_sequences import canonical, in_words
from amsgrad_exp.engines.fixed import Slopes, compiled_fixed
from amsgrad_exp.errors import NoSteadyState, RunFailed
from amsgrad_exp.problems import Cycle, LinearProblem
from amsgrad_exp.records.files import sha256, write_atomically
from amsgrad_exp.records.recorder import record
from amsgrad_exp.records.run import Origin, Run
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.spec.defaults import published
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import load_experiment, resolve_trial
from amsgrad_exp.theory import drift_of
from amsgrad_exp.verdict import Verdict
from amsgrad_exp.watch import UNWATCHED, Watch

COMPILED_BATCH, LITERAL_BATCH = 4096, 48  # problems in a batch, with and without compiled code
ALL_AND_RANDOM = 60_000  # problems to try: all families (35,029 at the default longest period), then random ones
SUBSET, LONGEST_OF_SUBSET = 192, 128  # problems to try, and their longest period, without compiled code
MEMORIES = 4  # the first drift is measured after this many times the second moment's memory, 1/(1 − β2)
FIRST_OF_UNKNOWN = 4096  # steps before the first drift is measured if the optimizer's memory is unknown

MOVES_OF_A_PERIOD = 0.25  # total movement within a period at step T; it is so small that x stays near its end
PERIODS = 50  # least number of the problem's periods in T steps
CROSSINGS = 9  # least T, in units of `Fall.crossing`: 1.1 times the way from x* to the worst end
LIMIT_STEPS = 1_000_000  # least length of the first run, so that it repeats itself
LITERAL_STEPS = 1_000_000  # total steps on the torch engine for an optimizer that has a rule
LITERAL_STEPS_CHECKED = 100_000  # the same for one with a program, since its runs take such steps to check themselves
LITERAL_STEPS_ALONE = 2_600_000  # the same for one that cannot be compiled
LEAST_PAID = 0.5  # least mean cost of a step, relative to that at the worst end
POINTS = 10_000  # approximate number of logged points; they are whole periods apart, so regrets span whole periods


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
        make = functools.partial(compiled_fixed, complete)
        theory = functools.cache(functools.partial(_theory, complete))
        return Target(complete, make, COMPILED_BATCH, first, theory, problems=ALL_AND_RANDOM)
    from amsgrad_exp.engines.recorded import program_of
    from amsgrad_exp.engines.recorded.recorded_run import LiteralFixedIterates, recorded_fixed, require_deterministic

    shared = engines.shared_between(experiment.trials()[0])
    require_deterministic(complete)
    with engines.config_errors():
        program = program_of(complete, "float64")
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
        falls=len(found.fallen),
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
    found, path = None, directory / "counterexample.yaml"
    for fall in falls:
        config = next(all_cases(target.settings, fall))[0].to_yaml().encode()
        if found is None:
            write_atomically(path, config)
        runs, confirmed = confirm(target.settings, fall, directory, watch)
        if confirmed or found is None:
            write_atomically(path, config)
            of_each = Evidence(runs).of_each_schedule
            decreasing, constant = of_each.get("inv-sqrt"), of_each.get("constant")
            found = Counterexample(
                period=len(fall.slopes),
                slopes=fall.slopes,
                optimum=-1.0 if sum(fall.slopes) > 0 else 1.0,
                config=str(path),
                confirmed=confirmed,
                regret=decreasing.result.regret if decreasing else None,
                limit_regret=constant.result.limit_regret if constant else None,
                runs=tuple(run.run_id for run in runs),
                config_sha256=sha256(config),
            )
        if confirmed or watch.should_stop():
            break
    return found


def confirm(settings: OptimizerSettings, fall: Fall, out: Path, watch: Watch = UNWATCHED) -> tuple[Sequence[Run], bool]:
    """Run a problem on [−1, 1] with step sizes α/√t and a constant one, from the worst end, the middle and x*.

    The dtypes are float32 and float64. If the optimizer has a rule, the compiled engine runs 10·T steps, and the first
    T are examined too. The torch engine runs T steps, or 10·T from x*, within `LITERAL_STEPS` in total. The first run
    that does not go to the worst end ends the confirmation. The runs are recorded under ``out``. They are returned in
    the order of `all_cases`, with whether all of them went to the worst end and stayed there.
    """
    cases = list(all_cases(settings, fall))
    runs: list[Run] = []
    for number, (trial, steps) in enumerate(cases, start=1):
        if watch.should_stop():
            return runs, False
        try:
            runs.append(record(trial, out, watch, f"{settings.name}, confirming: run {number} of {len(cases)}"))
        except RunFailed as failure:
            watch.note(f"not confirmed: {failure}")
            return runs, False
        if runs[-1].summary.status != "completed":
            return runs, False
        if not _fell(runs[-1], steps):
            start, size = f"x = {trial.problem.start:g}", f"α = {trial.optimizer.lr:g}"
            run = f"the {trial.schedule} run from {start} with {size}, {trial.dtype}, {trial.engine} engine,"
            watch.note(f"not confirmed: {run} does not stay at the worst end")
            return runs, False
    return runs, True


def _fell(run: Run, steps: int) -> bool:
    """Whether a run ends at the worst end, and has that end's cost over the last tenth of T and of all steps."""
    problem, trace = run.trial.problem, run.trace
    assert isinstance(problem, LinearProblem)
    cost = abs(problem.mean_slope) * (problem.high - problem.low)  # mean cost of a step at the worst end
    for end in (steps, run.trial.steps):
        tail = np.flatnonzero((trace.step >= 0.9 * end) & (trace.step < end))[[0, -1]]
        total = trace.regret[tail] * (trace.step[tail] + 1)
        if total[1] - total[0] < LEAST_PAID * cost * (trace.step[tail[1]] - trace.step[tail[0]]):
            return False
    return run.result.iterate == Verdict.WORST


def steps_of(fall: Fall) -> int:
    """Return T in whole periods, enough to go from x* to the worst end; 10·T is more than the steps of the search."""
    steps = max(fall.steps / 4, CROSSINGS * fall.crossing, PERIODS * len(fall.slopes))
    return len(fall.slopes) * math.ceil(steps / len(fall.slopes))


def all_cases(settings: OptimizerSettings, fall: Fall) -> Iterator[tuple[Trial, int]]:
    """Yield the planned runs, of T or 10·T steps, with T; compiled runs and runs from x* come first."""
    steps = steps_of(fall)
    worst = 1.0 if sum(fall.slopes) > 0 else -1.0
    dtypes = "float32", "float64"
    ways = list(itertools.product((-worst, 0.0, worst), dtypes, ("constant", "inv-sqrt")))
    has_rule = settings.name in OPTIMIZERS
    compiled = has_rule or all(
        engines.compiles(_trial(settings, fall, steps, worst, "constant", "compiled", dtype)) for dtype in dtypes
    )
    if compiled:
        for start, dtype, schedule in ways:
            first = (start, dtype, schedule) == ways[0]
            longer = max(10 * steps, LIMIT_STEPS) if first else 10 * steps
            yield _trial(settings, fall, longer, start, schedule, "compiled", dtype), steps
    budget = LITERAL_STEPS if has_rule else LITERAL_STEPS_CHECKED if compiled else LITERAL_STEPS_ALONE
    literal = ways[: max(budget // steps, 0 if compiled else 1)]
    for start, dtype, schedule in literal:
        # With a constant step size, a run repeats itself after about T steps, and the rest is derived.
        affordable = schedule == "constant" or budget - len(literal) * steps >= 9 * steps
        longer = 10 * steps if (start, dtype) == ways[0][:2] and affordable else steps
        yield _trial(settings, fall, longer, start, schedule, "torch", dtype), steps


def _trial(
    settings: OptimizerSettings, fall: Fall, steps: int, start: float, schedule: str, engine: str, dtype: str
) -> Trial:
    """Make a trial with a step size such that the total movement within a period is `MOVES_OF_A_PERIOD` at step T."""
    period = len(fall.slopes)
    lr = settings.lr * MOVES_OF_A_PERIOD / (fall.speed * period)
    if schedule == "inv-sqrt":
        lr *= steps_of(fall) ** 0.5
    return resolve_trial(
        {
            "name": FOLDER,
            "problem": {"name": "cycle", "slopes": fall.slopes, "start_at": start},
            "schedule": schedule,
            "optimizers": [settings.model_dump(exclude_none=True) | {"lr": float(f"{lr:.3g}")}],
            "steps": steps,
            "log_every": period * max(1, int(min(steps / POINTS, steps_of(fall) / PERIODS) / period)),
            "engine": engine,
            "dtype": dtype,
        }
    )
