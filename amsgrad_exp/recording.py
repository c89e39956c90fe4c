"""Recording a run, going on with one, and verifying one: the driver's chunks on their way to labml and to disk."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amsgrad_exp.config import BYTES_PER_POINT, ConfigError, Experiment
from amsgrad_exp.engines.base import Engine
from amsgrad_exp.experiment import Chunk, RunFailed, drive, summarize
from amsgrad_exp.runs import (
    Checkpoint,
    Damaged,
    Origin,
    Run,
    RunError,
    Summary,
    TraceWriter,
    format_rows,
    last_checkpoint,
    locked,
    parse_trace,
    read_run,
    sha256,
    write_atomically,
)
from amsgrad_exp.trace import Trace

if TYPE_CHECKING:
    from amsgrad_exp.tracking import Tracker

CHECKPOINT_SECONDS = 1.0


@dataclass(frozen=True)
class Recorded:
    """A run just recorded, up to its end or to where it was interrupted.

    Attributes:
        run: as it is on disk.
        trace: all of its logged points.
        trouble: one line on a labml server that did not take everything, or None.
    """

    run: Run
    trace: Trace
    trouble: str | None


OnChunk = Callable[[Chunk], object]
ShouldStop = Callable[[], bool]


def record(
    experiment: Experiment,
    out: Path,
    on_chunk: OnChunk = lambda chunk: None,
    should_stop: ShouldStop = lambda: False,
) -> Recorded:
    """Run an experiment of one optimizer, tracked by labml and recorded under ``out``.

    Args:
        experiment: with one optimizer.
        out: a directory, made where it is missing.
        on_chunk: called with every chunk once it is recorded.
        should_stop: asked after every chunk; True ends the run as interrupted, to be resumed.

    Raises:
        ConfigError: the optimizer cannot be built, labml's configuration is wrong, or the trace would not fit.
        RunFailed: the optimizer failed in the middle; what came before is recorded.
        RunError, OSError: the run could not be recorded.
    """
    settings = experiment.optimizers[0]
    engine = experiment.build_engine(settings)
    try:
        engine.load(engine.save())
    except ValueError as error:
        raise ConfigError(f"optimizer {settings.name}: {' '.join(str(error).split())}") from error
    _refuse_too_large(experiment, out)
    tracker = _track(experiment, out, experiment.name)
    directory = tracker.directory
    summary = Summary(
        status="running",
        optimizer=settings.name,
        problem=experiment.problem.name,
        schedule=experiment.schedule,
        engine=experiment.engine_of(settings),
        dtype=experiment.dtype,
        steps=experiment.steps,
        seeds=experiment.seeds,
        started=datetime.now(UTC),
        experiment_sha256=sha256(experiment.to_yaml().encode()),
        sessions=[Origin.here()],
    )
    with locked(directory):
        write_atomically(directory / "experiment.yaml", experiment.to_yaml().encode())
        writer = TraceWriter(directory / "trace.csv")
        run = Run(directory, experiment, summary)
        return _drive(run, engine, tracker, writer, on_chunk, should_stop, Trace.empty(), None)


def resume(run: Run, on_chunk: OnChunk = lambda chunk: None, should_stop: ShouldStop = lambda: False) -> Recorded:
    """Go on with a run from its last good checkpoint to its end; the result is that of an uninterrupted run.

    Raises:
        RunError: the run is complete already, or in use.
        Damaged: a file of the run is not what was written.
        Others: as `record`.
    """
    with locked(run.directory):
        run = read_run(run.directory)
        if run.summary.status == "completed":
            raise RunError(f"{run.directory} is complete already: there is nothing to resume")
        engine = run.experiment.build_engine(run.settings)
        checkpoint, trouble = last_checkpoint(run.directory)
        kept, seconds = b"", 0.0
        if checkpoint is not None:
            try:
                engine.load(checkpoint.engine)
            except ValueError as error:
                raise Damaged(f"{run.directory}: the checkpoint cannot be used: {error}") from error
            kept, seconds = (run.directory / "trace.csv").read_bytes()[: checkpoint.trace_bytes], checkpoint.seconds
        logged = parse_trace(kept)
        place = run.directory.parent
        tracker = _track(run.experiment, place.parent, place.name, run_id=run.run_id, logged=logged)
        sessions = [*run.summary.sessions, Origin.here()]
        summary = run.summary.model_copy(update={"seconds": seconds, "reason": None, "sessions": sessions})
        writer = TraceWriter(run.directory / "trace.csv", kept)
        run = replace(run, summary=summary)
        recorded = _drive(run, engine, tracker, writer, on_chunk, should_stop, logged, checkpoint)
        return replace(recorded, trouble=trouble or recorded.trouble)


def _drive(
    run: Run,
    engine: Engine,
    tracker: Tracker,
    writer: TraceWriter,
    on_chunk: OnChunk,
    should_stop: ShouldStop,
    logged: Trace,
    checkpoint: Checkpoint | None,
) -> Recorded:
    """Drive an engine to the run's end from where a checkpoint, if any, has left it; write all that comes out."""
    experiment = run.experiment
    traces = [logged]
    begun = time.monotonic() - run.summary.seconds

    def conclude(status: str, **fields: Any) -> Recorded:
        trouble = tracker.close(status, fields.get("reason"))
        fields |= {"status": status, "seconds": time.monotonic() - begun, "trace_sha256": writer.sync()[1]}
        summary = run.summary.model_copy(update=fields)
        summary.write(run.directory)
        return Recorded(replace(run, summary=summary), Trace.concatenate(traces), trouble)

    done = checkpoint.step if checkpoint else 0
    reference = bytes.fromhex(checkpoint.reference) if checkpoint and checkpoint.reference else None
    saved = _saved(engine)
    chunks = drive(
        engine, experiment.steps, experiment.log_every, fast_forward=experiment.fast_forward, reference=reference
    )
    stopping, untried = False, True
    try:
        run.summary.model_copy(update={"status": "running", "trace_sha256": None}).write(run.directory)
        checkpointed = time.monotonic()
        for chunk in chunks:
            if chunk.resumable:
                saved, reference = _saved(engine, try_it=untried), chunk.reference
                untried = False
            if chunk.step <= done:
                continue
            trace = chunk.trace.since(done)
            writer.append(trace)
            tracker.save(trace)
            traces.append(trace)
            on_chunk(chunk)
            if chunk.step == experiment.steps or engine.failure is not None:
                continue
            stopping = should_stop()
            if stopping or time.monotonic() - checkpointed >= CHECKPOINT_SECONDS:
                hexadecimal = reference.hex() if reference is not None else None
                seconds = time.monotonic() - begun
                Checkpoint(chunk.step, seconds, *writer.sync(), hexadecimal, saved).write(run.directory)
                checkpointed = time.monotonic()
            if stopping:
                return conclude("interrupted")
        return conclude("completed", **asdict(summarize(experiment.problem, Trace.concatenate(traces), chunk)))
    except RunFailed as error:
        conclude("failed", reason=str(error))
        raise
    except OSError as error:
        with contextlib.suppress(OSError):
            tracker.close("failed", str(error))
        with contextlib.suppress(OSError):
            run.summary.model_copy(update={"status": "failed", "reason": str(error)}).write(run.directory)
        raise
    finally:
        writer.close()


def _saved(engine: Engine, *, try_it: bool = False) -> bytes:
    """The engine's state; with ``try_it``, loaded once to be sure that it can be."""
    try:
        saved = engine.save()
        if try_it:
            engine.load(saved)
    except ValueError as error:
        raise RunFailed(str(error)) from error
    return saved


def _track(experiment: Experiment, out: Path, name: str, **resumed: Any) -> Tracker:
    from amsgrad_exp.tracking import Tracker

    return Tracker(out, name, experiment.optimizers[0].name, experiment.model_dump(mode="json"), **resumed)


def _refuse_too_large(experiment: Experiment, out: Path) -> None:
    points = experiment.steps // experiment.log_every
    existing = next(place for place in (out.resolve(), *out.resolve().parents) if place.is_dir())
    needed, free = points * BYTES_PER_POINT, shutil.disk_usage(existing).free
    if needed > max(free, BYTES_PER_POINT * 1000):  # a few points are for the disk itself to refuse
        raise ConfigError(
            f"{points:,} points need about {needed / 1e9:,.1f} GB and {out} has {free / 1e9:,.1f} GB: raise log_every"
        )


@dataclass(frozen=True)
class Verification:
    """A recorded trace against the same experiment run again.

    Attributes:
        engine: which engine ran it again.
        points: how many logged points were compared.
        tolerance: how far apart the numbers may be, as a part of the column's scale; 0 asks for identical bits.
        differences: the largest difference in each of loss, x and regret.
        first_step: the first logged step at which they are further apart than they may be, or None.
        changed: what differs between now and then in versions, platform and commit: name, then, now.
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
    experiment = run.experiment if engine_name is None else run.experiment.on_engine(engine_name)
    engine = experiment.build_engine(run.settings)
    name = experiment.engine_of(run.settings)
    complete = run.summary.status == "completed"
    traces = [Trace.empty()]
    points = 0
    try:
        for chunk in drive(engine, experiment.steps, experiment.log_every, fast_forward=experiment.fast_forward):
            traces.append(chunk.trace)
            points += len(chunk.trace)
            on_chunk(chunk)
            if not complete and points >= len(recorded):
                break
    except RunFailed:
        if complete:
            raise
    again = Trace.concatenate(traces)
    if not complete:
        again = again.rows(slice(len(recorded)))
    tolerance = 0.0 if name == run.summary.engine else CROSS_ENGINE_TOLERANCE[experiment.dtype]
    differences, first_step = _compare(recorded, again, tolerance)
    if first_step is None and tolerance == 0:
        first_step = _first_line_apart(content, format_rows(again, header=True), recorded)
    if first_step is None and not run.trusts(content):
        first_step = (int(recorded.step[-1]) if len(recorded) else -1) + experiment.log_every
    now = Origin.here().facts()
    changed = dict.fromkeys(
        (what, session.facts().get(what) or "none", now.get(what) or "none")
        for session in run.summary.sessions
        for what in sorted(session.facts() | now)
        if session.facts().get(what) != now.get(what)
    )
    return Verification(name, len(recorded), tolerance, differences, first_step, list(changed))


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
