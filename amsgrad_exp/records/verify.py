"""Run a recorded experiment again and compare every logged point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amsgrad_exp import engines
from amsgrad_exp.driver.drive import drive
from amsgrad_exp.errors import RunFailed
from amsgrad_exp.records.recorder import OnChunk
from amsgrad_exp.records.run import Run
from amsgrad_exp.records.summary import Origin
from amsgrad_exp.records.trace_csv import format_rows, parse_trace
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.trace import Trace


@dataclass(frozen=True)
class Verification:
    """A recorded trace against the same experiment run again.

    Attributes:
        engine: which engine ran it again.
        points: how many logged points were compared.
        tolerance: how far apart the numbers may be, as a part of the column's scale; 0 asks for identical bits.
        differences: the largest difference in each of loss, x and regret.
        first_step: the first logged step at which they are further apart than they may be, or None.
        changed: what differs between then and now in versions, platform, commit and code: name, then, now.
    """

    engine: str
    points: int
    tolerance: float
    differences: dict[str, float]
    first_step: int | None
    changed: list[tuple[str, str, str]]


CROSS_ENGINE_TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


def verify(run: Run, engine_name: str | None = None, on_chunk: OnChunk = lambda chunk: None) -> Verification:
    """Run the recorded experiment again and compare every logged point.

    Args:
        run: complete, or as far as it came.
        engine_name: "compiled" or "torch" instead of the engine that recorded it. Engines round differently until they
            settle, so across engines each column may differ by `CROSS_ENGINE_TOLERANCE` of its largest number.
        on_chunk: called with every chunk run again.

    Raises:
        Damaged: trace.csv is not a whole trace.
        ConfigError: the optimizer has no such engine.
        RunFailed: the optimizer fails, and did not when the run was recorded.
    """
    content = run.trace_bytes()
    recorded = parse_trace(content)
    trial = run.trial if engine_name is None else run.trial.on_engine(engine_name)
    name = engines.choose(trial)
    again = _run_again(trial, None if run.summary.status == "completed" else len(recorded), on_chunk)
    tolerance = 0.0 if name == run.summary.engine else CROSS_ENGINE_TOLERANCE[trial.dtype]
    differences, first_step = _compare(recorded, again, tolerance)
    if first_step is None and tolerance == 0:
        first_step = _first_line_apart(content, format_rows(again, header=True), recorded)
    if first_step is None and not run.trusts(content):
        first_step = (int(recorded.step[-1]) if len(recorded) else -1) + trial.log_every
    now = Origin.here()
    changed = dict.fromkeys(change for session in run.summary.sessions for change in session.differences(now))
    return Verification(name, len(recorded), tolerance, differences, first_step, list(changed))


def _run_again(trial: Trial, points: int | None, on_chunk: OnChunk) -> Trace:
    """All points of a trial, or its first so many, or those before it fails."""
    traces = [Trace.empty()]
    logged = 0
    try:
        for chunk in drive(engines.build(trial), trial.steps, trial.log_every, fast_forward=trial.fast_forward):
            traces.append(chunk.trace)
            logged += len(chunk.trace)
            on_chunk(chunk)
            if points is not None and logged >= points:
                break
    except RunFailed:
        if points is None:
            raise
    return Trace.concatenate(traces).rows(slice(points))


def _first_line_apart(content: bytes, expected: bytes, recorded: Trace) -> int | None:
    """The step of the first line that holds the same numbers in other characters, or None."""
    if content == expected or not len(recorded):
        return None
    lines = zip(content.splitlines(), expected.splitlines(), strict=False)
    number = next((number for number, (line, other) in enumerate(lines) if line != other), 1)
    return int(recorded.step[max(number, 1) - 1])


def _compare(recorded: Trace, again: Trace, tolerance: float) -> tuple[dict[str, float], int | None]:
    """The largest difference in each column, and the first step at which one is too large or a point is missing."""
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
