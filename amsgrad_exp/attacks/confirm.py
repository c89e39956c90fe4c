"""Confirms a problem from the search with ordinary recorded runs, some of them on the torch engine."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amsgrad_exp.attacks.search import Fall
from amsgrad_exp.attacks.slope_sequences import written
from amsgrad_exp.engines import compiles
from amsgrad_exp.errors import RunFailed
from amsgrad_exp.problems import LinearProblem
from amsgrad_exp.records.recorder import record
from amsgrad_exp.records.run import Run
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import resolve_trial
from amsgrad_exp.verdict import Verdict
from amsgrad_exp.watch import UNWATCHED, Watch

MOVES_OF_A_PERIOD = 0.25  # total movement within a period at step T; it is so small that x stays near its end
PERIODS = 50  # least number of the problem's periods in T steps
CROSSINGS = 9  # least T, in units of `Fall.crossing`: 1.1 times the way from x* to the worst end
LIMIT_STEPS = 1_000_000  # least length of the first run, so that it repeats itself
LITERAL_STEPS = 1_000_000  # total steps on the torch engine for an optimizer that has a rule
LITERAL_STEPS_CHECKED = 100_000  # the same for one with a program, since its runs take such steps to check themselves
LITERAL_STEPS_ALONE = 2_600_000  # the same for one that cannot be compiled
LEAST_PAID = 0.5  # least mean cost of a step, relative to that at the worst end
POINTS = 10_000  # approximate number of logged points; they are whole periods apart, so regrets span whole periods

FOLDER = "counterexample"
"""The name of the experiment, and therefore of the folder with its runs."""


@dataclass(frozen=True)
class Confirmation:
    """The outcome of confirming one problem."""

    fall: Fall
    runs: Sequence[Run]  # in the order of `all_cases`
    confirmed: bool  # whether all runs went to the worst end and stayed there


def confirm(settings: OptimizerSettings, fall: Fall, out: Path, watch: Watch = UNWATCHED) -> Confirmation:
    """Run a problem on [−1, 1] with step sizes α/√t and a constant one, from the worst end, the middle and x*.

    The dtypes are float32 and float64. If the optimizer has a rule, the compiled engine runs 10·T steps, and the first
    T are examined too. The torch engine runs T steps, or 10·T from x*, within `LITERAL_STEPS` in total. The first run
    that does not go to the worst end ends the confirmation. The runs are recorded under ``out``.
    """
    cases = list(all_cases(settings, fall))
    runs: list[Run] = []
    for number, (trial, steps) in enumerate(cases, start=1):
        if watch.should_stop():
            break
        try:
            runs.append(record(trial, out, watch, f"{settings.name}, confirming: run {number} of {len(cases)}"))
        except RunFailed as failure:
            watch.note(f"not confirmed: {failure}")
            break
        if runs[-1].summary.status != "completed":
            break
        if not _fell(runs[-1], steps):
            start, size = f"x = {trial.problem.start:g}", f"α = {trial.optimizer.lr:g}"
            run = f"the {trial.schedule} run from {start} with {size}, {trial.dtype}, {trial.engine} engine,"
            watch.note(f"not confirmed: {run} does not stay at the worst end")
            break
    else:
        return Confirmation(fall, runs, confirmed=True)
    return Confirmation(fall, runs, confirmed=False)


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
        compiles(_trial(settings, fall, steps, worst, "constant", "compiled", dtype)) for dtype in dtypes
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
            "problem": {"name": "cycle", "slopes": written(fall.slopes), "start_at": start},
            "schedule": schedule,
            "optimizers": [settings.model_dump(exclude_none=True) | {"lr": float(f"{lr:.3g}")}],
            "steps": steps,
            "log_every": period * max(1, int(min(steps / POINTS, steps_of(fall) / PERIODS) / period)),
            "engine": engine,
            "dtype": dtype,
        }
    )
