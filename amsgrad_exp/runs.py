"""A run's directory: what is written there, read back, resumed and verified.

``<out>/<name>/<run id>/`` is labml's own directory of the run. Beside labml's files it holds

    experiment.yaml   the complete experiment, with this run's optimizer alone
    trace.csv         the logged points, in digits that read back to the same bits
    checkpoint        the engine's whole state at a position in the trace; the one before it is checkpoint.previous
    summary.json      status, result, SHA-256 of the trace, versions, platform, timings

Nothing in it is ever executed. Files other than the trace are replaced as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field

from amsgrad_exp.config import BYTES_PER_POINT, ConfigError, Experiment, OptimizerSettings, load_experiment
from amsgrad_exp.engines.base import Engine
from amsgrad_exp.experiment import Chunk, RunFailed, drive, summarize
from amsgrad_exp.trace import Trace

if TYPE_CHECKING:
    from amsgrad_exp.tracking import Tracker

SCHEMA = 1
CHECKPOINT_SECONDS = 1.0
HEADER = b"step,loss,x,regret\n"
PACKAGES = ("amsgrad-exp", "labml", "llvmlite", "numba", "numpy", "torch")


class RunError(RuntimeError):
    """A run cannot be found, recorded or resumed; the message is one line that says why."""


class NoSuchRun(RunError):
    """What was named is no run, or none that can be read here."""


class Damaged(RunError):
    """A file of a run does not hold what was written."""


class Origin(BaseModel):
    """What the bits of a run may depend on: versions of Python and packages, platform, the checkout's git commit."""

    versions: dict[str, str]
    platform: str
    git_commit: str | None

    @classmethod
    def here(cls) -> Origin:
        """Those of this process."""
        versions = {"python": platform.python_version()}
        for package in PACKAGES:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[package] = importlib.metadata.version(package)
        commit = None
        checkout = Path(__file__).parent.parent
        if (checkout / ".git").exists():
            with contextlib.suppress(OSError):
                answer = subprocess.run(
                    ["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=False
                )
                commit = answer.stdout.strip() or None
        return cls(versions=versions, platform=platform.platform(), git_commit=commit)


class Summary(BaseModel):
    """A run's summary.json.

    The result's fields are those of `amsgrad_exp.experiment.Result`, and None until the run is completed; ``seconds``
    is the wall time of the loop with its recording, over all the sessions that a run took.
    """

    model_config = ConfigDict(populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    status: Literal["running", "interrupted", "completed", "failed"]
    reason: str | None = None
    optimizer: str
    problem: str
    schedule: str
    engine: str
    dtype: str
    steps: int
    steps_simulated: int | None = None
    steps_derived: int | None = None
    x: float | None = None
    mean_x: float | None = None
    total_regret: float | None = None
    regret: float | None = None
    regret_slope: float | None = None
    iterate: Literal["optimum", "worst", "between"] | None = None
    regret_trend: Literal["vanishing", "not vanishing"] | None = None
    seconds: float = 0.0
    started: datetime
    experiment_sha256: str
    trace_sha256: str | None = None
    origin: Origin

    def write(self, directory: Path) -> None:
        """Replace the directory's summary.json; its last key is the SHA-256 of the others."""
        fields = self.model_dump(mode="json", by_alias=True)
        content = json.dumps(fields | {"sha256": _sha256(json.dumps(fields).encode())}, indent=2)
        write_atomically(directory / "summary.json", content.encode() + b"\n")

    @classmethod
    def read(cls, directory: Path) -> Summary:
        """Read it back.

        Raises:
            NoSuchRun: it was written by a newer version.
            Damaged: it is not what was written.
        """
        path = directory / "summary.json"
        try:
            fields = json.loads(path.read_bytes())
            digest = fields.pop("sha256", None)
        except (ValueError, AttributeError, RecursionError) as error:
            raise Damaged(f"{path} is damaged: it is not a JSON document") from error
        if digest != _sha256(json.dumps(fields).encode()):
            raise Damaged(f"{path} is damaged: its checksum is wrong")
        if fields["schema"] > SCHEMA:
            raise NoSuchRun(f"{directory} was written by a newer version of amsgrad-exp")
        return cls.model_validate(fields)


@dataclass(frozen=True)
class Run:
    """A recorded run, as it is on disk: read, never executed."""

    directory: Path
    experiment: Experiment
    summary: Summary

    @property
    def run_id(self) -> str:
        return self.directory.name

    @property
    def settings(self) -> OptimizerSettings:
        """The run's one optimizer."""
        return self.experiment.optimizers[0]

    def document(self) -> dict[str, Any]:
        """What ``--json`` says of the run: its summary without what is about the record itself."""
        record_keeping = {"schema_", "status", "reason", "started", "experiment_sha256", "trace_sha256", "origin"}
        return self.summary.model_dump(exclude=record_keeping) | {"directory": str(self.directory)}

    def read_trace(self) -> Trace:
        """All logged points.

        Raises:
            Damaged: trace.csv is not a whole trace.
        """
        return parse_trace((self.directory / "trace.csv").read_bytes())


@dataclass(frozen=True)
class Checkpoint:
    """Where a run can go on from.

    Attributes:
        step: the number of steps done.
        seconds: the wall time they took.
        trace_bytes, trace_sha256: how much of trace.csv belongs to them, and its SHA-256.
        engine: what `Engine.save` returned.
    """

    step: int
    seconds: float
    trace_bytes: int
    trace_sha256: str
    engine: bytes

    def write(self, directory: Path) -> None:
        """Replace the directory's checkpoint, keeping the one before it."""
        fields = {"schema": SCHEMA} | asdict(self)
        body = (
            json.dumps({key: value for key, value in fields.items() if key != "engine"}).encode() + b"\n" + self.engine
        )
        path = directory / "checkpoint"
        if path.exists():
            path.replace(directory / "checkpoint.previous")
        write_atomically(path, _sha256(body).encode() + b"\n" + body)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a checkpoint back.

        Raises:
            Damaged: the file is not, byte for byte, what was written.
            FileNotFoundError: there is none.
        """
        digest, _, body = path.read_bytes().partition(b"\n")
        if _sha256(body).encode() != digest:
            raise Damaged(f"{path} is damaged: its checksum is wrong")
        header, _, engine = body.partition(b"\n")
        fields = json.loads(header)
        if fields.pop("schema") != SCHEMA:
            raise NoSuchRun(f"{path} was written by a newer version of amsgrad-exp")
        return cls(engine=engine, **fields)


class TraceWriter:
    """trace.csv under way: appended to, with the SHA-256 of all that it holds."""

    def __init__(self, path: Path, kept: bytes = HEADER) -> None:
        """Open the file anew, or cut it back to what of it is ``kept``."""
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._digest = hashlib.sha256(kept)
        self._file.truncate(len(kept))
        self._file.write(kept)
        self._file.flush()

    def append(self, trace: Trace) -> None:
        """Hand the rows of ``trace`` to the operating system."""
        columns = (trace.step.tolist(), trace.loss.tolist(), trace.x.tolist(), trace.regret.tolist())
        rows = "".join(f"{step},{loss!r},{x!r},{regret!r}\n" for step, loss, x, regret in zip(*columns, strict=True))
        self._file.write(rows.encode())
        self._file.flush()
        self._digest.update(rows.encode())

    def sync(self) -> tuple[int, str]:
        """Wait until all rows are on the disk; return the file's size in bytes and its SHA-256."""
        os.fsync(self._file.fileno())
        return self._file.tell(), self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()


def parse_trace(text: bytes) -> Trace:
    """The rows of a trace.csv.

    Raises:
        Damaged: a row is not four finite numbers, or the last one is cut off.
    """
    header, *rows = text.split(b"\n")
    if header + b"\n" != HEADER or rows.pop() != b"":
        raise Damaged("trace.csv is damaged: its first or last line is not whole")
    steps, columns = [], []
    for number, row in enumerate(rows, start=2):
        try:
            step, *numbers = row.split(b",")
            loss, x, regret = map(float, numbers)
            steps.append(int(step))
            columns.append((loss, x, regret))
        except ValueError as error:
            raise Damaged(f"trace.csv is damaged in line {number}: {row[:60]!r}") from error
    loss_x_regret = np.array(columns, np.float64).reshape(-1, 3).T
    if not np.isfinite(loss_x_regret).all():
        raise Damaged("trace.csv is damaged: it holds a number that is not finite")
    return Trace(np.array(steps, np.int64), *loss_x_regret)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file as a whole: write beside it, fsync, rename, fsync the directory."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes from writing to a run.

    Raises:
        RunError: another process is at it; the message has its id.
    """
    lock = FileLock(directory / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        with contextlib.suppress(OSError):
            pid = (directory / "run.pid").read_text()
            raise RunError(f"{directory} is in use by process {pid}") from error
        raise RunError(f"{directory} is in use by another process") from error
    with lock:
        yield


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
    out.mkdir(parents=True, exist_ok=True)
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
        started=datetime.now(UTC),
        experiment_sha256=_sha256(experiment.to_yaml().encode()),
        origin=Origin.here(),
    )
    with locked(directory):
        write_atomically(directory / "experiment.yaml", experiment.to_yaml().encode())
        writer = TraceWriter(directory / "trace.csv")
        empty = Trace.concatenate([])
        return _drive(Run(directory, experiment, summary), engine, tracker, writer, empty, on_chunk, should_stop)


def resume(run: Run, on_chunk: OnChunk = lambda chunk: None, should_stop: ShouldStop = lambda: False) -> Recorded:
    """Go on with a run from its last good checkpoint to its end; the result is that of an uninterrupted run.

    Raises:
        RunError: the run is complete already, in use, or was recorded in a way that cannot be continued here.
        Others: as `record`.
    """
    with locked(run.directory):
        run = read_run(run.directory)
        if run.summary.status == "completed":
            raise RunError(f"{run.directory} is complete already: there is nothing to resume")
        engine = run.experiment.build_engine(run.settings)
        kept, seconds = HEADER, 0.0
        checkpoint, trouble = _last_checkpoint(run.directory)
        if checkpoint is not None:
            try:
                engine.load(checkpoint.engine)
            except ValueError as error:
                raise Damaged(f"{run.directory}: the checkpoint cannot be used: {error}") from error
            kept, seconds = (run.directory / "trace.csv").read_bytes()[: checkpoint.trace_bytes], checkpoint.seconds
        logged = parse_trace(kept)
        tracker = _track(
            run.experiment, run.directory.parent.parent, run.directory.parent.name, run_id=run.run_id, logged=logged
        )
        run = replace(
            run, summary=run.summary.model_copy(update={"seconds": seconds, "reason": None, "origin": Origin.here()})
        )
        writer = TraceWriter(run.directory / "trace.csv", kept)
        recorded = _drive(run, engine, tracker, writer, logged, on_chunk, should_stop)
        return replace(recorded, trouble=trouble or recorded.trouble)


def _drive(
    run: Run,
    engine: Engine,
    tracker: Tracker,
    writer: TraceWriter,
    logged: Trace,
    on_chunk: OnChunk,
    should_stop: ShouldStop,
) -> Recorded:
    """Drive an engine to the run's end, writing all that comes out."""
    experiment = run.experiment
    traces = [logged]
    begun = time.monotonic() - run.summary.seconds

    def conclude(status: str, **fields: Any) -> Recorded:
        trouble = tracker.close(status, fields.get("reason"))
        fields |= {"status": status, "seconds": time.monotonic() - begun, "trace_sha256": writer.sync()[1]}
        summary = run.summary.model_copy(update=fields)
        summary.write(run.directory)
        return Recorded(replace(run, summary=summary), Trace.concatenate(traces), trouble)

    try:
        run.summary.model_copy(update={"status": "running"}).write(run.directory)
        checkpointed = time.monotonic()
        stopping = False
        for chunk in drive(engine, experiment.steps, experiment.log_every, fast_forward=experiment.fast_forward):
            writer.append(chunk.trace)
            tracker.save(chunk.trace)
            traces.append(chunk.trace)
            on_chunk(chunk)
            stopping = chunk.step < experiment.steps and should_stop()
            due = time.monotonic() - checkpointed >= CHECKPOINT_SECONDS
            if (stopping or due) and chunk.resumable:
                size, sha256 = writer.sync()
                Checkpoint(chunk.step, time.monotonic() - begun, size, sha256, engine.save()).write(run.directory)
                checkpointed = time.monotonic()
            if stopping:
                break
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


def _track(experiment: Experiment, out: Path, name: str, **resumed: Any) -> Tracker:
    from amsgrad_exp.tracking import Tracker

    return Tracker(out, name, experiment.optimizers[0].name, experiment.model_dump(mode="json"), **resumed)


def _refuse_too_large(experiment: Experiment, out: Path) -> None:
    points = experiment.steps // experiment.log_every
    needed, free = points * BYTES_PER_POINT, shutil.disk_usage(out).free
    if needed > free:
        raise ConfigError(
            f"{points:,} points need about {needed / 1e9:,.1f} GB and {out} has {free / 1e9:,.1f} GB: raise log_every"
        )


def _last_checkpoint(directory: Path) -> tuple[Checkpoint | None, str | None]:
    """The newest checkpoint that can be believed, and one line on those that cannot."""
    trouble = None
    trace = (directory / "trace.csv").read_bytes() if (directory / "trace.csv").exists() else b""
    for name in ("checkpoint", "checkpoint.previous"):
        try:
            checkpoint = Checkpoint.read(directory / name)
        except FileNotFoundError:
            continue
        except Damaged as error:
            trouble = f"{error}; going on from the one before it"
            continue
        if _sha256(trace[: checkpoint.trace_bytes]) == checkpoint.trace_sha256:
            return checkpoint, trouble
        trouble = f"{directory / 'trace.csv'} is not what it was at the last checkpoint; going on from before"
    return None, trouble


def read_run(directory: Path) -> Run:
    """Read a run's experiment and summary.

    Raises:
        NoSuchRun: the directory is not a run, or was written by a newer version.
        Damaged: a file is not what was written.
    """
    for name in ("experiment.yaml", "summary.json"):
        if not (directory / name).is_file():
            raise NoSuchRun(f"{directory} is not a run: it has no {name}")
    summary = Summary.read(directory)
    if _sha256((directory / "experiment.yaml").read_bytes()) != summary.experiment_sha256:
        raise Damaged(f"{directory / 'experiment.yaml'} is damaged: it is not what was recorded")
    return Run(directory, load_experiment(directory / "experiment.yaml"), summary)


def list_runs(out: Path) -> list[Run]:
    """All runs under ``out`` that can be read, oldest first."""
    runs = []
    for path in sorted(out.glob("*/*/summary.json")):
        with contextlib.suppress(RunError, OSError):
            runs.append(read_run(path.parent))
    return sorted(runs, key=lambda run: run.summary.started)


def find_run(reference: str, out: Path) -> Run:
    """The run named by a directory, by an id or the beginning of one under ``out``, or by ``last``.

    Raises:
        NoSuchRun: there is no such run, or more than one.
    """
    if (directory := Path(reference)).is_dir():
        return read_run(directory.resolve())
    if reference == "last":
        runs = list_runs(out)
        if not runs:
            raise NoSuchRun(f"there are no runs under {out}")
        return runs[-1]
    found = [path for path in sorted(out.glob("*/*")) if path.is_dir() and path.name.startswith(reference)]
    if len(found) != 1:
        how_many = "no run" if not found else f"{len(found)} runs"
        raise NoSuchRun(f"{how_many} under {out} with an id that begins with {reference!r}: see amsgrad-exp list runs")
    return read_run(found[0].resolve())


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
    recorded = run.read_trace()
    experiment = run.experiment
    if engine_name is not None:
        experiment = Experiment.model_validate(dict(experiment) | {"engine": engine_name})
    engine = experiment.build_engine(run.settings)
    name = experiment.engine_of(run.settings)
    traces = []
    complete = run.summary.status == "completed"
    try:
        for chunk in drive(engine, experiment.steps, experiment.log_every, fast_forward=experiment.fast_forward):
            traces.append(chunk.trace)
            on_chunk(chunk)
            if not complete and len(recorded) and len(chunk.trace) and chunk.trace.step[-1] >= recorded.step[-1]:
                break
    except RunFailed:
        if complete:
            raise
    again = Trace.concatenate(traces)
    if not complete:
        again = again.first(len(recorded))
    tolerance = 0.0 if name == run.summary.engine else CROSS_ENGINE_TOLERANCE[experiment.dtype]
    differences, first_step = _compare(recorded, again, tolerance)
    then, now = run.summary.origin, Origin.here()
    before = {**then.versions, "platform": then.platform, "git commit": then.git_commit}
    today = {**now.versions, "platform": now.platform, "git commit": now.git_commit}
    changed = [
        (what, before.get(what) or "none", today.get(what) or "none")
        for what in sorted(before | today)
        if before.get(what) != today.get(what)
    ]
    return Verification(name, len(recorded), tolerance, differences, first_step, changed)


def _compare(recorded: Trace, again: Trace, tolerance: float) -> tuple[dict[str, float], int | None]:
    """The largest difference in each column, and the first step at which one is too large or a point is missing."""
    points = min(len(recorded), len(again))
    wrong = recorded.step[:points] != again.step[:points]
    differences = {}
    for column in ("loss", "x", "regret"):
        then, now = getattr(recorded, column)[:points], getattr(again, column)[:points]
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
