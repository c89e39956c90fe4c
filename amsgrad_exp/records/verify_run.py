"""Runs a recorded experiment again and compares every logged point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amsgrad_exp import engines
from amsgrad_exp.engines.batch import Batch
from amsgrad_exp.engines.driver import drive
from amsgrad_exp.errors import RunFailed
from amsgrad_exp.records.recorder import report
from amsgrad_exp.records.run import Origin, Run, format_rows, parse_trace
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.trace import Trace
from amsgrad_exp.watch import UNWATCHED, Watch


@dataclass(frozen=True)
class Verification:
    """The comparison of a recorded trace with the same experiment run again."""

    engine: str  # that ran it again
    points: int  # how many logged points were compared
    tolerance: float  # the largest accepted difference relative to a column's largest number; 0: identical bits
    differences: dict[str, float]  # the largest difference in each of loss, x and regret
    first_step: int | None  # the first logged step with a larger difference than accepted
    changed: list[tuple[str, str, str]]  # versions, platform, code and the like that differ: name, then, now


CROSS_ENGINE_TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


def verify(run: Run, engine_name: str | None = None, watch: Watch = UNWATCHED) -> Verification:
    """Run a complete or unfinished run again and compare every logged point.

    ``engine_name`` is "compiled" or "torch" for another engine than the one that recorded it. Engines round
    differently, so between engines a column may differ by `CROSS_ENGINE_TOLERANCE` of its largest number.

    Raises:
        Damaged: trace.csv is damaged.
        ConfigError: the optimizer does not support the engine.
        RunFailed: the optimizer fails, but did not when the run was recorded.
    """
    content = run.trace_bytes()
    recorded = parse_trace(content, run.directory / "trace.csv")
    trial = run.trial if engine_name is None else run.trial.on_engine(engine_name)
    engine = engines.build(trial)
    again = _run_again(engine, trial, None if run.summary.status == "completed" else len(recorded), watch)
    name = engine.driven.engine
    # An imported optimizer's compiled program has the bits of the literal loop, as long as every step is simulated.
    result = run.summary.result
    may_be_derived = trial.fast_forward and (result is None or result.steps_derived > 0)
    same_bits = name == run.summary.engine or (
        trial.optimizer.name not in OPTIMIZERS and trial.seeds == 1 and not may_be_derived
    )
    tolerance = 0.0 if same_bits else CROSS_ENGINE_TOLERANCE[trial.dtype]
    differences, first_step = _compare(recorded, again, tolerance)
    if first_step is None and tolerance == 0:
        first_step = _first_line_apart(content, format_rows(again, header=True), recorded)
    if first_step is None and not run.trusts(content):
        first_step = (int(recorded.step[-1]) if len(recorded) else -1) + trial.log_every
    now = Origin.here(run.trial.optimizer.name)
    changed = dict.fromkeys(change for session in run.summary.sessions for change in session.differences(now))
    for what in ("program", "kernels"):
        then, here = getattr(run.summary, what), getattr(engine.driven, what)
        if then and here and then != here:
            changed[what, then[:12], here[:12]] = None
    return Verification(name, len(recorded), tolerance, differences, first_step, list(changed))


def _run_again(engine: Batch, trial: Trial, points: int | None, watch: Watch) -> Trace:
    """All points of a trial, or its first ``points``, which may end at a failure."""
    traces = [Trace.empty()]
    logged = 0
    try:
        for chunk in drive(engine, trial.steps, trial.log_every, fast_forward=trial.fast_forward):
            traces.append(chunk.trace)
            logged += len(chunk.trace)
            report(watch, f"verifying {trial.optimizer.name}", chunk, trial.steps)
            if points is not None and logged >= points:
                break
    except RunFailed:
        if points is None:
            raise
    return Trace.concatenate(traces).rows(slice(points))


def _first_line_apart(content: bytes, expected: bytes, recorded: Trace) -> int | None:
    """The step of the first line whose characters differ although its numbers do not, or None."""
    if content == expected or not len(recorded):
        return None
    lines = zip(content.splitlines(), expected.splitlines(), strict=False)
    number = next((number for number, (line, other) in enumerate(lines) if line != other), 1)
    return int(recorded.step[max(number, 1) - 1])


def _compare(recorded: Trace, again: Trace, tolerance: float) -> tuple[dict[str, float], int | None]:
    """The largest difference in each column, and the first step with a missing point or too large a difference."""
    points = min(len(recorded), len(again))
    wrong = recorded.step[:points] != again.step[:points]
    differences = {}
    for column in ("loss", "x", "regret"):
        then, now = recorded.columns[column][:points], again.columns[column][:points]
        difference = np.abs(now - then)
        differences[column] = float(np.max(difference, initial=0.0))
        if tolerance == 0:
            wrong |= then.view(np.int64) != now.view(np.int64)
        else:
            wrong |= difference > tolerance * np.max(np.abs(now), initial=0.0)
    if wrong.any():
        return differences, int(again.step[np.argmax(wrong)])
    longer = max(recorded.step, again.step, key=len)
    return differences, int(longer[points]) if len(longer) > points else None
