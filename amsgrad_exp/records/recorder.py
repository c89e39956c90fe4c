"""Records a run and resumes one: writes the driver's chunks to disk and to labml."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from amsgrad_exp import engines
from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.driver.drive import drive
from amsgrad_exp.driver.result import summarize
from amsgrad_exp.engines.base import Engine
from amsgrad_exp.errors import ConfigError, Damaged, NoSteadyState, RunError, RunFailed, bytes_in_words
from amsgrad_exp.process import recording
from amsgrad_exp.records.checkpoint import Checkpoint, TraceWriter, last_checkpoint
from amsgrad_exp.records.files import locked, write_atomically
from amsgrad_exp.records.run import Run, parse_trace, read_run
from amsgrad_exp.records.summary import Origin, Summary
from amsgrad_exp.spec.experiment import BYTES_PER_POINT, Trial
from amsgrad_exp.spec.labels import labels
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.theory import limit
from amsgrad_exp.trace import Trace
from amsgrad_exp.watch import UNWATCHED, Watch

if TYPE_CHECKING:
    from amsgrad_exp.records.tracking import Tracker

CHECKPOINT_SECONDS = 1.0


@recording()
def record(trial: Trial, out: Path, watch: Watch = UNWATCHED, label: str | None = None) -> Run:
    """Run a trial, tracked by labml and recorded under ``out``.

    Args:
        trial: what to run.
        out: a directory, created if missing.
        watch: progress callbacks, called after every recorded chunk.
        label: what it reports progress of; by default the optimizer's label or name.

    Returns:
        The run, completed or interrupted.

    Raises:
        ConfigError: the optimizer cannot be built, labml's configuration is wrong, or the disk is too small for the
            trace.
        RunFailed: the optimizer failed during the run; the steps before the failure are recorded.
        RunError, OSError: the run could not be recorded.
    """
    engine = engines.build(trial)
    _refuse_too_large(trial, out)
    tracker = _track(trial, out, trial.name)
    with locked(tracker.directory):
        write_atomically(tracker.directory / "experiment.yaml", trial.to_yaml().encode())
        summary = Summary.first(trial, engine.driven, engines.shared_between(trial))
        run = Run(tracker.directory, trial, summary, logged=Trace.empty())
        return Recorder(run, engine, tracker, Checkpoint(), watch=watch).drive(label or labels([trial])[0])


@recording()
def resume(run: Run, watch: Watch = UNWATCHED) -> Run:
    """Resume a run from its last undamaged checkpoint; the result is that of an uninterrupted run.

    For a completed run this only calls ``watch.note``.

    Args:
        run: the run as it was read.
        watch: progress callbacks, which are also told of a damaged checkpoint.

    Returns:
        The run, completed or interrupted.

    Raises:
        RunError: the run is in use.
        Damaged: a file of the run is damaged.
        Others: as in `record`.
    """
    if run.summary.status != "completed":
        with locked(run.directory):
            run = read_run(run.directory)
            if run.summary.status != "completed":
                return _recorder_from_last_checkpoint(run, watch).drive(labels([run.trial])[0])
    watch.note(f"{run.directory} is complete: there is nothing to resume")
    return run


def _recorder_from_last_checkpoint(run: Run, watch: Watch) -> Recorder:
    engine = engines.build(run.trial)
    checkpoint, kept, trouble = last_checkpoint(run.directory)
    if trouble is not None:
        watch.note(trouble)
    if checkpoint is None:
        if run.summary.unsaved is not None:
            raise RunError(f"{run.directory} cannot be resumed, since {run.summary.unsaved}: run it again")
        checkpoint = Checkpoint()
    else:
        try:
            engine.load(checkpoint.engine)
        except ValueError as error:
            raise Damaged(f"{run.directory}: the checkpoint cannot be used: {error}") from error
    if checkpoint.reference is not None:
        # In 0.1.0 the state of an optimizer without v_max ended with an extra number that was always 0.
        checkpoint = replace(checkpoint, reference=checkpoint.reference[: len(engine.state)])
    logged = parse_trace(kept)
    place = run.directory.parent
    tracker = _track(run.trial, place.parent, place.name, run_id=run.run_id, logged=logged)
    sessions = [*run.summary.sessions, Origin.here(run.trial.optimizer.name)]
    summary = run.summary.changed(
        status="running", reason=None, seconds=checkpoint.seconds, trace_sha256=None, sessions=sessions
    )
    run = replace(run, summary=summary, logged=logged)
    return Recorder(run, engine, tracker, checkpoint, kept, watch=watch)


class Recorder:
    """One session of a run: writes what the engine yields to trace.csv, to labml and into checkpoints.

    Args:
        run: a run with status "running" and the points logged before ``start``.
        engine: an engine in the state saved in ``start``.
        tracker: the run's tracker, which already has those points.
        start: the checkpoint at which the session starts.
        kept: the content of trace.csv at ``start``.
        watch: progress callbacks.

    Raises:
        OSError: trace.csv cannot be written.
    """

    def __init__(
        self, run: Run, engine: Engine, tracker: Tracker, start: Checkpoint, kept: bytes = b"", *, watch: Watch
    ) -> None:
        self.run = run
        self._engine = engine
        self._tracker = tracker
        self._watch = watch
        self._traces = [run.trace]
        self._start = start
        self._saved, self._reference = start.engine, start.reference
        self._begun = time.monotonic() - start.seconds
        self._checkpointed = time.monotonic()
        self._writer = TraceWriter(run.directory / "trace.csv", kept)

    def drive(self, label: str) -> Run:
        """Drive the engine to the end of the run or until the watch asks to stop; errors as in `record`."""
        steps = self.run.trial.steps
        try:
            self.run.summary.write(self.run.directory)
            if not self._saved:
                self._save()
            for chunk in self._unrecorded():
                self.take(chunk)
                report(self._watch, label, chunk, steps)
                if chunk.step == steps or self._engine.failure is not None:
                    continue  # no checkpoint at the end: a resumed run needs a last chunk for its result
                stopping = self._watch.should_stop()
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
        """The engine's chunks after ``start``; the engine may have been saved earlier, before derived steps."""
        trial = self.run.trial
        chunks = drive(
            self._engine, trial.steps, trial.log_every, fast_forward=trial.fast_forward, reference=self._reference
        )
        for chunk in chunks:
            if chunk.resumable:
                self._reference = chunk.reference
                self._save()
            if chunk.step > self._start.step:
                yield chunk

    def _save(self) -> None:
        """Save the engine for the next checkpoint; if that fails, note it once and continue without checkpoints."""
        if self.run.summary.unsaved is not None:
            return
        try:
            self._saved = self._engine.save()
        except ValueError as error:
            self._saved, reason = b"", f"{self.run.trial.optimizer.name} cannot be saved: {error}"
            self.run = replace(self.run, summary=self.run.summary.changed(unsaved=reason))
            self.run.summary.write(self.run.directory)
            self._watch.note(f"{reason}; the run continues without checkpoints and cannot be resumed")

    def take(self, chunk: Chunk) -> None:
        """Write a chunk's points to trace.csv and to labml."""
        trace = chunk.trace.since(self._start.step)
        self._writer.append(trace)
        self._tracker.save(trace)
        self._traces.append(trace)

    def checkpoint(self, step: int) -> None:
        """Write a checkpoint after ``step`` steps, whose points must all have been taken, unless none can be made."""
        if not self._saved:
            return
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
        """End the session: write everything to disk, and the summary last.

        Args:
            status: the status for the summary.
            reason: why the run failed.
            last: the last chunk of a completed run, from which its result is computed.
        """
        trace = Trace.concatenate(self._traces)
        trial = self.run.trial
        result = None if last is None else summarize(trial.problem, trace, last, _predicted(trial), schedule_of(trial))
        # labml's log is closed and the trace is on disk before the summary contains their checksums: after a crash in
        # between, the run is still "running" and can be resumed from its checkpoint.
        trouble = self._tracker.close(status, reason)
        if trouble is not None:
            self._watch.note(trouble)
        _, digest = self._writer.sync()
        seconds = time.monotonic() - self._begun
        driven = self._engine.driven
        if driven.engine != self.run.summary.engine and driven.not_compiled:
            self._watch.note(f"{trial.optimizer.name} went on uncompiled: {driven.not_compiled}")
        summary = self.run.summary.changed(
            status=status, reason=reason, result=result, seconds=seconds, trace_sha256=digest, **asdict(driven)
        )
        summary.write(self.run.directory)
        return replace(self.run, summary=summary, logged=trace)

    def _abandon(self, reason: str) -> None:
        """End the session after a disk error: record the failure if possible."""
        with contextlib.suppress(OSError):
            self._tracker.close("failed", reason)
        with contextlib.suppress(OSError):
            self.run.summary.changed(status="failed", reason=reason).write(self.run.directory)


def report(watch: Watch, label: str, chunk: Chunk, steps: int) -> None:
    """Report the progress of a run after a chunk."""
    remark = f"x {chunk.x:+.3f}  R(T)/T {chunk.total_regret / chunk.step:.3g}"
    watch.progress(label, chunk.step, steps, "steps", remark)


def _predicted(trial: Trial) -> float | None:
    try:
        return limit(trial)
    except NoSteadyState:
        return None


def _track(trial: Trial, out: Path, name: str, **resumed: Any) -> Tracker:
    from amsgrad_exp.records.tracking import Tracker

    return Tracker(out, name, trial.optimizer.name, trial.document(exclude_none=False), **resumed)


def _refuse_too_large(trial: Trial, out: Path) -> None:
    points = trial.steps // trial.log_every
    existing = next(place for place in (out.resolve(), *out.resolve().parents) if place.is_dir())
    needed, free = points * BYTES_PER_POINT, shutil.disk_usage(existing).free
    if needed > max(free, BYTES_PER_POINT * 1000):  # for a few points, rely on the write error
        raise ConfigError(
            f"{points:,} points need about {bytes_in_words(needed)} and {out} has {bytes_in_words(free)}: "
            "raise log_every"
        )
