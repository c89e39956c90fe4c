"""What decides: a problem that fell in the search, as ordinary recorded runs, clamped, on the literal engine, too."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amsgrad_exp.attack.search import Fall
from amsgrad_exp.attack.sequences import written
from amsgrad_exp.errors import RunFailed
from amsgrad_exp.problems.base import LinearProblem
from amsgrad_exp.records.recorder import record
from amsgrad_exp.records.run import Run
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.optimizer import OptimizerSettings
from amsgrad_exp.spec.read import resolve_trial
from amsgrad_exp.verdict import Verdict

MOVES_OF_A_PERIOD = 0.25  # of all moves of a period together at the last step: they stay near the end they are at
PERIODS = 50  # of the problem in T steps, at least
CROSSINGS = 9  # T in `Fall.crossing`: 1.1 times the way from x* to the worst end
LIMIT_STEPS = 1_000_000  # of the first run, which is to repeat itself
LITERAL_STEPS, LITERAL_STEPS_ALONE = 1_000_000, 2_600_000  # of the literal loop's runs, and where there are no others
LEAST_PAID = 0.5  # of what the worst end costs a step in the mean
POINTS = 10_000  # logged, about: whole periods apart, so that regret between two of them is that of periods

Case = tuple[Trial, int]  # and the T that it is of, or a tenth of


@dataclass(frozen=True)
class Confirmation:
    """What the runs of one problem came to.

    Attributes:
        fall: the problem.
        runs: those that were made, in the order of `cases`.
        confirmed: whether all of them went to the worst end and stayed there.
        complete: whether all were made that were to be; else one did not fall, failed, or it was interrupted.
    """

    fall: Fall
    runs: Sequence[Run]
    confirmed: bool
    complete: bool


def confirm(
    settings: OptimizerSettings,
    fall: Fall,
    out: Path,
    *,
    on_run: Callable[[int, int], object] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_note: Callable[[str], object] = lambda note: None,
) -> Confirmation:
    """Run a problem clamped, with step sizes α/√t and with a constant one, from the worst end, the middle and x*.

    In float32 and float64, for 10·T steps, of which the first T are looked at, too, on the compiled engine where the
    optimizer has a rule; on the literal one for T steps, and from x* for 10·T, as far as `LITERAL_STEPS` go. The first
    run that does not fall ends it.

    Args:
        settings: the optimizer; its step size is chosen here.
        fall: the problem.
        out: a directory, where the runs are recorded.
        on_run: called with how many runs are done, of how many.
        should_stop: asked often; True ends it.
        on_note: called with a line on what went wrong and stopped nothing.

    Raises:
        RunError, OSError: a run could not be recorded.
    """
    cases = list(all_cases(settings, fall))
    runs: list[Run] = []
    for number, (trial, steps) in enumerate(cases):
        on_run(number, len(cases))
        if should_stop():
            return Confirmation(fall, runs, confirmed=False, complete=False)
        try:
            run = record(trial, out, should_stop=should_stop, on_note=on_note)
        except RunFailed as failure:
            on_note(f"not confirmed: {failure}")
            return Confirmation(fall, runs, confirmed=False, complete=False)
        runs.append(run)
        completed = run.summary.status == "completed"
        if not completed or not fell(run, steps):
            if completed:
                on_note(f"not confirmed: {_said(trial)} does not stay at the worst end")
            return Confirmation(fall, runs, confirmed=False, complete=False)
    on_run(len(cases), len(cases))
    return Confirmation(fall, runs, confirmed=True, complete=True)


def _said(trial: Trial) -> str:
    start, size = f"x = {trial.problem.start:g}", f"α = {trial.optimizer.lr:g}"
    return f"the {trial.schedule} run from {start} with {size}, {trial.dtype}, {trial.engine} engine,"


def fell(run: Run, steps: int) -> bool:
    """Whether a run ends at the worst end, and pays for it over the last tenth of T steps and of its own."""
    problem, trace = run.trial.problem, run.trace
    assert isinstance(problem, LinearProblem)
    cost = abs(problem.mean_slope) * (problem.high - problem.low)  # of a step at the worst end, in the mean
    for end in (steps, run.trial.steps):
        tail = np.flatnonzero((trace.step >= 0.9 * end) & (trace.step < end))[[0, -1]]
        total = trace.regret[tail] * (trace.step[tail] + 1)
        if total[1] - total[0] < LEAST_PAID * cost * (trace.step[tail[1]] - trace.step[tail[0]]):
            return False
    return run.result.iterate == Verdict.WORST


def steps_of(fall: Fall) -> int:
    """T: enough to go from x* to the worst end, in whole periods; 10·T is more than the search took to see it."""
    steps = max(fall.steps / 4, CROSSINGS * fall.crossing, PERIODS * len(fall.slopes))
    return len(fall.slopes) * math.ceil(steps / len(fall.slopes))


def all_cases(settings: OptimizerSettings, fall: Fall) -> Iterator[Case]:
    """What is to be run, and each run's T: on the compiled engine first, from x* first."""
    steps = steps_of(fall)
    worst = 1.0 if sum(fall.slopes) > 0 else -1.0
    ways = list(itertools.product((-worst, 0.0, worst), ("float32", "float64"), ("constant", "inv-sqrt")))
    compiled = settings.name in OPTIMIZERS
    if compiled:
        for start, dtype, schedule in ways:
            first = (start, dtype, schedule) == ways[0]
            longer = max(10 * steps, LIMIT_STEPS) if first else 10 * steps
            yield case(settings, fall, longer, start, schedule, engine="compiled", dtype=dtype), steps
    budget = LITERAL_STEPS if compiled else LITERAL_STEPS_ALONE
    literal = ways[: budget // steps]
    for start, dtype, schedule in literal:
        # With a constant step size the rest of a run is derived, once it repeats itself: that takes about T steps.
        affordable = schedule == "constant" or budget - len(literal) * steps >= 9 * steps
        longer = 10 * steps if (start, dtype) == ways[0][:2] and affordable else steps
        yield case(settings, fall, longer, start, schedule, engine="torch", dtype=dtype), steps


def case(
    settings: OptimizerSettings, fall: Fall, steps: int, start: float, schedule: str, *, engine: str, dtype: str
) -> Trial:
    """A run, with a step size such that at step T the moves of one period come to `MOVES_OF_A_PERIOD`."""
    period = len(fall.slopes)
    lr = settings.lr * MOVES_OF_A_PERIOD / (fall.speed * period)
    if schedule == "inv-sqrt":
        lr *= steps_of(fall) ** 0.5
    return resolve_trial(
        {
            "name": "counterexample",
            "problem": {"name": "cycle", "slopes": written(fall.slopes), "start_at": start},
            "schedule": schedule,
            "optimizers": [settings.model_dump(exclude_none=True) | {"lr": float(f"{lr:.3g}")}],
            "steps": steps,
            "log_every": period * max(1, int(min(steps / POINTS, steps_of(fall) / PERIODS) / period)),
            "engine": engine,
            "dtype": dtype,
        }
    )
