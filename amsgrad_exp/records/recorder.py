"""Records a run and resumes one: writes points and checkpoints to disk, and sends points to labml."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amsgrad_exp import engines
from amsgrad_exp.engines.batch import Batch
from amsgrad_exp.engines.driver import Chunk, drive
from amsgrad_exp.engines.summarize import summarize
from amsgrad_exp.errors import ConfigError, Damaged, NoSteadyState, NoSuchRun, RunError, RunFailed, bytes_in_words
from amsgrad_exp.process import recording
from amsgrad_exp.records.files import SCHEMA, locked, sha256, write_atomically
from amsgrad_exp.records.run import Origin, Run, Summary, format_rows, parse_trace, read_run
from amsgrad_exp.spec.experiment import BYTES_PER_POINT, Trial
from amsgrad_exp.spec.labels import labels
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.theory import limit
from amsgrad_exp.trace import Trace
from amsgrad_exp.watch import UNWATCHED, Watch

if TYPE_CHECKING:
    from amsgrad_exp.records.tracking import Tracker

CHECKPOINT_SECONDS = 1.0


@dataclass(frozen=True)
class Checkpoint:
    """The state from which a run can be resumed; by default that at its start, before the engine is saved."""

    step: int = 0  # the number of steps done
    seconds: float = 0.0  # the wall time they took
    trace_bytes: int = 0  # the size and the SHA-256 of the part of trace.csv that belongs to these steps
    trace_sha256: str = sha256(b"")
    reference: bytes | None = None  # `Chunk.reference` at the step at which the engine was saved
    engine: bytes = b""  # from `Batch.save`, at this step or, while steps are being derived, at an earlier one

    def write(self, directory: Path) -> None:
        """Replace the directory's checkpoint and keep the previous one."""
        header = {"schema": SCHEMA, **vars(self), "reference": None if self.reference is None else self.reference.hex()}
        del header["engine"]
        body = json.dumps(header).encode() + b"\n" + self.engine
        path = directory / "checkpoint"
        if path.exists():
            path.replace(directory / "checkpoint.previous")
        write_atomically(path, sha256(body).encode() + b"\n" + body)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a checkpoint; Damaged if its checksum is wrong, NoSuchRun if a newer version wrote it."""
        digest, _, body = path.read_bytes().partition(b"\n")
        if sha256(body).encode() != digest:
            raise Damaged(f"{path} is damaged: its checksum is wrong")
        header, _, engine = body.partition(b"\n")
        fields = json.loads(header)
        if fields.pop("schema") > SCHEMA:
            raise NoSuchRun(f"{path} was written by a newer version of amsgrad-exp")
        reference = fields.pop("reference")
        return cls(engine=engine, reference=None if reference is None else bytes.fromhex(reference), **fields)


def last_checkpoint(directory: Path) -> tuple[Checkpoint, bytes, str | None]:
    """The newest undamaged checkpoint, the part of trace.csv before it, and what is wrong with newer checkpoints."""
    trouble = None
    trace = (directory / "trace.csv").read_bytes() if (directory / "trace.csv").exists() else b""
    for name in ("checkpoint", "checkpoint.previous"):
        try:
            checkpoint = Checkpoint.read(directory / name)
        except FileNotFoundError:
            continue
        except Damaged as error:
            trouble = f"{error}; resuming from an earlier checkpoint"
            continue
        kept = trace[: checkpoint.trace_bytes]
        if sha256(kept) == checkpoint.trace_sha256:
            return checkpoint, kept, trouble
        trouble = f"{directory / 'trace.csv'} has changed since the last checkpoint; resuming from an earlier one"
    return Checkpoint(), b"", trouble


@recording()
def record(trial: Trial, out: Path, watch: Watch = UNWATCHED, label: str | None = None) -> Run:
    """Run a trial, tracked by labml and recorded under ``out``, a directory that is created if missing.

    The watch is called after every recorded chunk; the label, by default the optimizer's, says what makes progress. The
    returned run is completed or interrupted.

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
        experiment = trial.to_yaml().encode()
        write_atomically(tracker.directory / "experiment.yaml", experiment)
        summary = Summary(
            status="running",
            optimizer=trial.optimizer.name,
            problem=trial.problem.name,
            **{name: getattr(trial, name) for name in ("schedule", "dtype", "steps", "seeds")},
            **asdict(engine.driven),
            shared_between=engines.shared_between(trial),
            started=datetime.now(UTC),
            experiment_sha256=sha256(experiment),
            sessions=[Origin.here(trial.optimizer.name)],
        )
        run = Run(tracker.directory, trial, summary, logged=Trace.empty())
        return Recorder(run, engine, tracker, Checkpoint(), b"", watch).drive(label or labels([trial])[0])


@recording()
def resume(run: Run, watch: Watch = UNWATCHED) -> Run:
    """Resume a run from its last undamaged checkpoint; the result is that of an uninterrupted run.

    The watch is also told of a damaged checkpoint, and of a run that is already completed. Errors are those of
    `record`, RunError if the run is in use, and Damaged if one of its files is damaged.
    """
    if run.summary.status != "completed":
        with locked(run.directory):
            run = read_run(run.directory)
            if run.summary.status != "completed":
                return _from_last_checkpoint(run, watch).drive(labels([run.trial])[0])
    watch.note(f"{run.directory} is complete: there is nothing to resume")
    return run


def _from_last_checkpoint(run: Run, watch: Watch) -> Recorder:
    engine = engines.build(run.trial)
    checkpoint, kept, trouble = last_checkpoint(run.directory)
    if trouble:
        watch.note(trouble)
    if checkpoint.engine:
        try:
            engine.load(checkpoint.engine)
        except ValueError as error:
            raise Damaged(f"{run.directory}: the checkpoint cannot be used: {error}") from error
    elif run.summary.unsaved is not None:
        raise RunError(f"{run.directory} cannot be resumed, since {run.summary.unsaved}: run it again")
    if checkpoint.reference is not None:
        # In 0.1.0 the state of an optimizer without v_max ended with an extra number that was always 0.
        checkpoint = replace(checkpoint, reference=checkpoint.reference[: len(engine.states[0])])
    logged = parse_trace(kept, run.directory / "trace.csv")
    place = run.directory.parent
    tracker = _track(run.trial, place.parent, place.name, run_id=run.run_id, logged=logged)
    sessions = [*run.summary.sessions, Origin.here(run.trial.optimizer.name)]
    summary = run.summary.changed(
        status="running", reason=None, seconds=checkpoint.seconds, trace_sha256=None, sessions=sessions
    )
    run = replace(run, summary=summary, logged=logged)
    return Recorder(run, engine, tracker, checkpoint, kept, watch)


class Recorder:
    """One session of a run: writes the engine's chunks to trace.csv, to labml and into checkpoints.

    It starts at a checkpoint, whose state the engine has, and whose points the run, the tracker and ``kept``, the
    beginning of trace.csv, have.
    """

    def __init__(self, run: Run, engine: Batch, tracker: Tracker, start: Checkpoint, kept: bytes, watch: Watch) -> None:
        self.run = run
        self._engine = engine
        self._tracker = tracker
        self._watch = watch
        self._traces = [run.trace]
        self._start = start
        self._saved, self._reference = start.engine, start.reference
        self._begun = time.monotonic() - start.seconds
        self._checkpointed = time.monotonic()
        path = run.directory / "trace.csv"
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._digest = hashlib.sha256()
        self._file.truncate(len(kept))
        self._append(kept)

    def drive(self, label: str) -> Run:
        """Drive the engine to the end of the run or until the watch asks to stop; errors as in `record`."""
        trial, reference = self.run.trial, [self._reference] + [None] * (self.run.trial.seeds - 1)
        chunks = drive(self._engine, trial.steps, trial.log_every, fast_forward=trial.fast_forward, reference=reference)
        try:
            self._change_summary()
            if not self._saved:
                self._save()
            for chunk in chunks:
                if chunk.reference is not None:
                    self._reference = chunk.reference[0]
                    self._save()
                if chunk.step <= self._start.step:
                    continue  # it is in trace.csv: the engine was saved before steps that were derived
                trace = chunk.trace.since(self._start.step)
                if len(trace):
                    self._append(format_rows(trace, header=not self._file.tell()))
                self._tracker.save(trace)
                self._traces.append(trace)
                report(self._watch, label, chunk, trial.steps)
                if chunk.step == trial.steps or self._engine.failure is not None:
                    continue  # no checkpoint at the end: a resumed run needs a last chunk for its result
                stopping = self._watch.should_stop()
                now = time.monotonic()
                if self._saved and (stopping or now - self._checkpointed >= CHECKPOINT_SECONDS):
                    so_far = Checkpoint(chunk.step, now - self._begun, *self._sync(), self._reference, self._saved)
                    so_far.write(self.run.directory)
                    self._checkpointed = time.monotonic()
                if stopping:
                    return self._conclude("interrupted")
            return self._conclude("completed", last=chunk)
        except RunFailed as failure:
            self._conclude("failed", reason=str(failure))
            raise
        except OSError as error:
            with contextlib.suppress(OSError):
                self._tracker.close("failed", str(error))
            with contextlib.suppress(OSError):
                self._change_summary(status="failed", reason=str(error))
            raise
        finally:
            self._file.close()

    def _save(self) -> None:
        """Save the engine for the next checkpoint; if that fails, note it once and continue without checkpoints."""
        if self.run.summary.unsaved is not None:
            return
        try:
            self._saved = self._engine.save()
        except ValueError as error:
            self._saved, reason = b"", f"{self.run.trial.optimizer.name} cannot be saved: {error}"
            self._change_summary(unsaved=reason)
            self._watch.note(f"{reason}; the run continues without checkpoints and cannot be resumed")

    def _change_summary(self, **changes: Any) -> None:
        """Change some fields of the run's summary, and write it."""
        self.run = replace(self.run, summary=self.run.summary.changed(**changes))
        self.run.summary.write(self.run.directory)

    def _append(self, rows: bytes) -> None:
        """Write to trace.csv without waiting for the disk."""
        self._file.write(rows)
        self._file.flush()
        self._digest.update(rows)

    def _sync(self) -> tuple[int, str]:
        """Wait until trace.csv is on disk; its size in bytes and its SHA-256."""
        os.fsync(self._file.fileno())
        return self._file.tell(), self._digest.hexdigest()

    def _conclude(self, status: str, reason: str | None = None, last: Chunk | None = None) -> Run:
        """End the session: write everything to disk, the summary last; a completed run has a last chunk."""
        trace = Trace.concatenate(self._traces)
        trial = self.run.trial
        result = predicted = None
        if last is not None:
            with contextlib.suppress(NoSteadyState):
                predicted = limit(trial)
            result = summarize(trial.problem, trace, last, predicted, schedule_of(trial))
        # labml's log is closed and the trace is on disk before the summary contains their checksums: after a crash in
        # between, the run is still "running" and can be resumed from its checkpoint.
        if trouble := self._tracker.close(status, reason):
            self._watch.note(trouble)
        driven, (_, digest) = self._engine.driven, self._sync()
        if driven.engine != self.run.summary.engine and driven.not_compiled:
            self._watch.note(f"{trial.optimizer.name} went on uncompiled: {driven.not_compiled}")
        seconds = time.monotonic() - self._begun
        changes = {"status": status, "reason": reason, "result": result, "seconds": seconds, "trace_sha256": digest}
        self._change_summary(**changes, **asdict(driven))
        return replace(self.run, logged=trace)


def report(watch: Watch, label: str, chunk: Chunk, steps: int) -> None:
    """Report the progress of a run after a chunk."""
    remark = f"x {chunk.x:+.3f}  R(T)/T {chunk.total_regret / chunk.step:.3g}"
    watch.progress(label, chunk.step, steps, "steps", remark)


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
