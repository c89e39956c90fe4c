"""Recording a run and going on with one: the driver's chunks on their way to labml and to disk."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from amsgrad_exp import engines
from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.driver.drive import drive
from amsgrad_exp.driver.result import summarize
from amsgrad_exp.engines.base import Engine
from amsgrad_exp.errors import ConfigError, Damaged, NoSteadyState, RunFailed
from amsgrad_exp.records.checkpoint import Checkpoint, last_checkpoint
from amsgrad_exp.records.files import locked, write_atomically
from amsgrad_exp.records.run import Run, read_run
from amsgrad_exp.records.summary import Origin, Summary
from amsgrad_exp.records.trace_csv import TraceWriter, parse_trace
from amsgrad_exp.spec.experiment import BYTES_PER_POINT, Trial
from amsgrad_exp.theory import limit
from amsgrad_exp.trace import Trace

if TYPE_CHECKING:
    from amsgrad_exp.records.tracking import Tracker

CHECKPOINT_SECONDS = 1.0

OnChunk = Callable[[Chunk], object]
ShouldStop = Callable[[], bool]
OnNote = Callable[[str], object]


def record(
    trial: Trial,
    out: Path,
    on_chunk: OnChunk = lambda chunk: None,
    should_stop: ShouldStop = lambda: False,
    on_note: OnNote = lambda note: None,
) -> Run:
    """Run a trial, tracked by labml and recorded under ``out``.

    Args:
        trial: what to run.
        out: a directory, made where it is missing.
        on_chunk: called with every chunk once it is recorded.
        should_stop: asked after every chunk; True ends the run as interrupted, to be resumed.
        on_note: called with one line on what went wrong and did not stop the run: a labml server that did not answer.

    Returns:
        The run, completed or interrupted.

    Raises:
        ConfigError: the optimizer cannot be built, labml's configuration is wrong, or the trace would not fit.
        RunFailed: the optimizer failed in the middle; what came before is recorded.
        RunError, OSError: the run could not be recorded.
    """
    engine = engines.build(trial)
    start = _start(engine, trial)
    _refuse_too_large(trial, out)
    tracker = _track(trial, out, trial.name)
    with locked(tracker.directory):
        write_atomically(tracker.directory / "experiment.yaml", trial.to_yaml().encode())
        run = Run(tracker.directory, trial, Summary.first(trial), logged=Trace.empty())
        return Recorder(run, engine, tracker, start, on_note=on_note).drive(on_chunk, should_stop)


def resume(
    run: Run,
    on_chunk: OnChunk = lambda chunk: None,
    should_stop: ShouldStop = lambda: False,
    on_note: OnNote = lambda note: None,
) -> Run:
    """Go on with a run from its last good checkpoint to its end; the result is that of an uninterrupted run.

    Of a run that is complete that is said, and nothing else done.

    Args:
        run: as it was read.
        on_chunk, should_stop: as for `record`.
        on_note: as for `record`, and called with one line on a checkpoint that is damaged.

    Returns:
        The run, completed or interrupted.

    Raises:
        RunError: the run is in use.
        Damaged: a file of the run is not what was written.
        Others: as `record`.
    """
    if run.summary.status != "completed":
        with locked(run.directory):
            run = read_run(run.directory)
            if run.summary.status != "completed":
                return _recorder_from_last_checkpoint(run, on_note).drive(on_chunk, should_stop)
    on_note(f"{run.directory} is complete: there is nothing to resume")
    return run


def _recorder_from_last_checkpoint(run: Run, on_note: OnNote) -> Recorder:
    engine = engines.build(run.trial)
    checkpoint, kept, trouble = last_checkpoint(run.directory)
    if trouble is not None:
        on_note(trouble)
    if checkpoint is None:
        checkpoint = Checkpoint.start(engine.save())
    try:
        engine.load(checkpoint.engine)
    except ValueError as error:
        raise Damaged(f"{run.directory}: the checkpoint cannot be used: {error}") from error
    if checkpoint.reference is not None:
        # 0.1.0 ended the state of an optimizer without v_max in a number that was always 0.
        checkpoint = replace(checkpoint, reference=checkpoint.reference[: len(engine.state)])
    logged = parse_trace(kept)
    place = run.directory.parent
    tracker = _track(run.trial, place.parent, place.name, run_id=run.run_id, logged=logged)
    sessions = [*run.summary.sessions, Origin.here()]
    summary = run.summary.changed(
        status="running", reason=None, seconds=checkpoint.seconds, trace_sha256=None, sessions=sessions
    )
    run = replace(run, summary=summary, logged=logged)
    return Recorder(run, engine, tracker, checkpoint, kept, on_note=on_note)


class Recorder:
    """One session of a run: what an engine yields, written to trace.csv, to labml and into checkpoints.

    Args:
        run: with a summary that says "running", and the points logged before ``start``.
        engine: as it was saved in ``start``.
        tracker: of the run, which has had those points.
        start: where the run begins or goes on.
        kept: what trace.csv held at ``start``.
        on_note: called with one line on a labml server that did not take everything.

    Raises:
        OSError: trace.csv cannot be written.
    """

    def __init__(
        self, run: Run, engine: Engine, tracker: Tracker, start: Checkpoint, kept: bytes = b"", *, on_note: OnNote
    ) -> None:
        self.run = run
        self._engine = engine
        self._tracker = tracker
        self._on_note = on_note
        self._traces = [run.trace]
        self._start = start
        self._saved, self._reference = start.engine, start.reference
        self._tried = False
        self._begun = time.monotonic() - start.seconds
        self._checkpointed = time.monotonic()
        self._writer = TraceWriter(run.directory / "trace.csv", kept)

    def drive(self, on_chunk: OnChunk, should_stop: ShouldStop) -> Run:
        """Drive the engine to the run's end, or until ``should_stop``; the arguments and errors are `record`'s."""
        steps = self.run.trial.steps
        try:
            self.run.summary.write(self.run.directory)
            for chunk in self._unrecorded():
                self.take(chunk)
                on_chunk(chunk)
                if chunk.step == steps or self._engine.failure is not None:
                    continue  # no checkpoint at the end of a run: whoever resumes it has a last chunk to conclude from
                stopping = should_stop()
                if stopping or time.monotonic() - self._checkpointed >= CHECKPOINT_SECONDS:
                    self.checkpoint(chunk.step)
                if stopping:
                    return self.conclude("interrupted")
            return self.conclude("completed", last=chunk)
        except RunFailed as failure:
            self.conclude("failed", reason=str(failure))
            raise
        except OSError as error:
            self._abandon(str(error))
            raise
        finally:
            self._writer.close()

    def _unrecorded(self) -> Iterator[Chunk]:
        """The engine's chunks beyond `start`, which may have been made where steps were being derived."""
        trial = self.run.trial
        chunks = drive(
            self._engine, trial.steps, trial.log_every, fast_forward=trial.fast_forward, reference=self._reference
        )
        for chunk in chunks:
            if chunk.resumable:
                self._saved, self._reference = self._save(), chunk.reference
            if chunk.step > self._start.step:
                yield chunk

    def _save(self) -> bytes:
        try:
            saved = self._engine.save()
            if not self._tried:  # what cannot be loaded is found out now, not when it is needed
                self._engine.load(saved)
                self._tried = True
        except ValueError as error:
            raise RunFailed(str(error)) from error
        return saved

    def take(self, chunk: Chunk) -> None:
        """Write a chunk's points to trace.csv and to labml.

        Raises:
            OSError: they could not be written.
        """
        trace = chunk.trace.since(self._start.step)
        self._writer.append(trace)
        self._tracker.save(trace)
        self._traces.append(trace)

    def checkpoint(self, step: int) -> None:
        """Make so many steps, of which all points have been taken, a place to go on from.

        Raises:
            OSError: it could not be written.
        """
        seconds = time.monotonic() - self._begun
        Checkpoint(step, seconds, *self._writer.sync(), self._reference, self._saved).write(self.run.directory)
        self._checkpointed = time.monotonic()

    def conclude(
        self,
        status: Literal["completed", "interrupted", "failed"],
        *,
        reason: str | None = None,
        last: Chunk | None = None,
    ) -> Run:
        """End the session: everything on the disk, and last of all the summary that says so.

        Args:
            status: what the summary is to say.
            reason: why it failed.
            last: the last chunk of a completed run, for its result.

        Raises:
            OSError: something could not be written.
        """
        trace = Trace.concatenate(self._traces)
        trial = self.run.trial
        result = None if last is None else summarize(trial.problem, trace, last, _predicted(trial))
        # labml's log is closed and the trace is on the disk before the summary vouches for them: a crash in between
        # leaves a run that is still "running", and so goes on from its checkpoint.
        trouble = self._tracker.close(status, reason)
        if trouble is not None:
            self._on_note(trouble)
        _, digest = self._writer.sync()
        seconds = time.monotonic() - self._begun
        summary = self.run.summary.changed(
            status=status, reason=reason, result=result, seconds=seconds, trace_sha256=digest
        )
        summary.write(self.run.directory)
        return replace(self.run, summary=summary, logged=trace)

    def _abandon(self, reason: str) -> None:
        """End a session whose disk does not take what it must, as well as that goes."""
        with contextlib.suppress(OSError):
            self._tracker.close("failed", reason)
        with contextlib.suppress(OSError):
            self.run.summary.changed(status="failed", reason=reason).write(self.run.directory)


def _predicted(trial: Trial) -> float | None:
    try:
        return limit(trial)
    except NoSteadyState:
        return None


def _start(engine: Engine, trial: Trial) -> Checkpoint:
    try:
        saved = engine.save()
        engine.load(saved)
    except ValueError as error:
        raise ConfigError(f"optimizer {trial.optimizer.name}: {' '.join(str(error).split())}") from error
    return Checkpoint.start(saved)


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
