"""Recording a run and going on with one: the driver's chunks on their way to labml and to disk."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amsgrad_exp import engines
from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.driver.drive import drive
from amsgrad_exp.driver.result import summarize
from amsgrad_exp.engines.base import Engine
from amsgrad_exp.errors import ConfigError, Damaged, RunError, RunFailed
from amsgrad_exp.records.checkpoint import Checkpoint, last_checkpoint
from amsgrad_exp.records.files import locked, sha256, write_atomically
from amsgrad_exp.records.run import Run, read_run
from amsgrad_exp.records.summary import Origin, Summary
from amsgrad_exp.records.trace_csv import TraceWriter, parse_trace
from amsgrad_exp.spec.experiment import BYTES_PER_POINT, Trial
from amsgrad_exp.trace import Trace

if TYPE_CHECKING:
    from amsgrad_exp.records.tracking import Tracker


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
    trial: Trial,
    out: Path,
    on_chunk: OnChunk = lambda chunk: None,
    should_stop: ShouldStop = lambda: False,
) -> Recorded:
    """Run a trial, tracked by labml and recorded under ``out``.

    Args:
        trial: what to run.
        out: a directory, made where it is missing.
        on_chunk: called with every chunk once it is recorded.
        should_stop: asked after every chunk; True ends the run as interrupted, to be resumed.

    Raises:
        ConfigError: the optimizer cannot be built, labml's configuration is wrong, or the trace would not fit.
        RunFailed: the optimizer failed in the middle; what came before is recorded.
        RunError, OSError: the run could not be recorded.
    """
    engine = engines.build(trial)
    try:
        engine.load(engine.save())
    except ValueError as error:
        raise ConfigError(f"optimizer {trial.optimizer.name}: {' '.join(str(error).split())}") from error
    _refuse_too_large(trial, out)
    tracker = _track(trial, out, trial.name)
    directory = tracker.directory
    summary = Summary(
        status="running",
        optimizer=trial.optimizer.name,
        problem=trial.problem.name,
        schedule=trial.schedule,
        engine=engines.choose(trial),
        dtype=trial.dtype,
        steps=trial.steps,
        seeds=trial.seeds,
        started=datetime.now(UTC),
        experiment_sha256=sha256(trial.to_yaml().encode()),
        sessions=[Origin.here()],
    )
    with locked(directory):
        write_atomically(directory / "experiment.yaml", trial.to_yaml().encode())
        writer = TraceWriter(directory / "trace.csv")
        run = Run(directory, trial, summary)
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
        engine = engines.build(run.trial)
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
        tracker = _track(run.trial, place.parent, place.name, run_id=run.run_id, logged=logged)
        sessions = [*run.summary.sessions, Origin.here()]
        summary = run.summary.changed(seconds=seconds, reason=None, sessions=sessions)
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
    trial = run.trial
    traces = [logged]
    begun = time.monotonic() - run.summary.seconds

    def conclude(status: str, **fields: Any) -> Recorded:
        trouble = tracker.close(status, fields.get("reason"))
        fields |= {"status": status, "seconds": time.monotonic() - begun, "trace_sha256": writer.sync()[1]}
        summary = run.summary.changed(**fields)
        summary.write(run.directory)
        return Recorded(replace(run, summary=summary), Trace.concatenate(traces), trouble)

    done = checkpoint.step if checkpoint else 0
    reference = bytes.fromhex(checkpoint.reference) if checkpoint and checkpoint.reference else None
    saved = _saved(engine)
    chunks = drive(engine, trial.steps, trial.log_every, fast_forward=trial.fast_forward, reference=reference)
    stopping, untried = False, True
    try:
        run.summary.changed(status="running", trace_sha256=None).write(run.directory)
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
            if chunk.step == trial.steps or engine.failure is not None:
                continue
            stopping = should_stop()
            if stopping or time.monotonic() - checkpointed >= CHECKPOINT_SECONDS:
                hexadecimal = reference.hex() if reference is not None else None
                seconds = time.monotonic() - begun
                Checkpoint(chunk.step, seconds, *writer.sync(), hexadecimal, saved).write(run.directory)
                checkpointed = time.monotonic()
            if stopping:
                return conclude("interrupted")
        return conclude("completed", result=summarize(trial.problem, Trace.concatenate(traces), chunk))
    except RunFailed as error:
        conclude("failed", reason=str(error))
        raise
    except OSError as error:
        with contextlib.suppress(OSError):
            tracker.close("failed", str(error))
        with contextlib.suppress(OSError):
            run.summary.changed(status="failed", reason=str(error)).write(run.directory)
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


def _track(trial: Trial, out: Path, name: str, **resumed: Any) -> Tracker:
    from amsgrad_exp.records.tracking import Tracker

    return Tracker(out, name, trial.optimizer.name, trial.experiment().model_dump(mode="json"), **resumed)


def _refuse_too_large(trial: Trial, out: Path) -> None:
    points = trial.steps // trial.log_every
    existing = next(place for place in (out.resolve(), *out.resolve().parents) if place.is_dir())
    needed, free = points * BYTES_PER_POINT, shutil.disk_usage(existing).free
    if needed > max(free, BYTES_PER_POINT * 1000):  # a few points are for the disk itself to refuse
        raise ConfigError(
            f"{points:,} points need about {needed / 1e9:,.1f} GB and {out} has {free / 1e9:,.1f} GB: raise log_every"
        )
