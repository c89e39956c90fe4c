"""A run's directory: what is in it, how it is written and how it is read back.

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
import io
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amsgrad_exp.config import ConfigError, Experiment, OptimizerSettings, read_complete
from amsgrad_exp.trace import Trace

SCHEMA = 1
COLUMNS = [field.name for field in fields(Trace)]
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

    def facts(self) -> dict[str, str | None]:
        """All of them by name."""
        return {**self.versions, "platform": self.platform, "git commit": self.git_commit}

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
    seeds: int
    steps_simulated: int | None = None
    steps_derived: int | None = None
    x: float | None = None
    mean_x: float | None = None
    total_regret: float | None = None
    regret: float | None = None
    regret_slope: float | None = None
    mean_x_halfwidth: float | None = None
    regret_halfwidth: float | None = None
    iterate: Literal["optimum", "worst", "between"] | None = None
    regret_trend: Literal["vanishing", "not vanishing"] | None = None
    seconds: float = 0.0
    started: datetime
    experiment_sha256: str
    trace_sha256: str | None = None
    sessions: list[Origin]

    def write(self, directory: Path) -> None:
        """Replace the directory's summary.json; its last key is the SHA-256 of the others."""
        fields = self.model_dump(mode="json", by_alias=True)
        content = json.dumps(fields | {"sha256": sha256(json.dumps(fields).encode())}, indent=2)
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
            fields = dict(json.loads(path.read_bytes()))
            digest = fields.pop("sha256", None)
        except (ValueError, TypeError, RecursionError) as error:
            raise Damaged(f"{path} is damaged: it is not a run's summary") from error
        if digest != sha256(json.dumps(fields).encode()):
            raise Damaged(f"{path} is damaged: its checksum is wrong")
        if isinstance(fields.get("schema"), int) and fields["schema"] > SCHEMA:
            raise NoSuchRun(f"{directory} was written by a newer version of amsgrad-exp")
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise Damaged(f"{path} is damaged: it is not a run's summary") from error


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
        record_keeping = {"schema_", "status", "reason", "started", "experiment_sha256", "trace_sha256", "sessions"}
        if self.summary.seeds == 1:
            record_keeping |= {"seeds", "mean_x_halfwidth", "regret_halfwidth"}
        return self.summary.model_dump(exclude=record_keeping) | {"directory": str(self.directory)}

    @property
    def status(self) -> str:
        """The summary's status; "killed" where it says "running" and no process is at it."""
        if self.summary.status == "running":
            with contextlib.suppress(RunError, OSError), locked(self.directory):
                return "killed"
        return self.summary.status

    def read_trace(self) -> Trace:
        """All logged points; of a run that did not end by itself, those that are whole.

        Raises:
            Damaged: trace.csv is not what was written.
        """
        content = self.trace_bytes()
        if not self.trusts(content):
            raise Damaged(f"{self.directory / 'trace.csv'} is damaged: it is not what was recorded")
        return parse_trace(content)

    def trusts(self, content: bytes) -> bool:
        """Whether that is what trace.csv held when the run last ended; of a run under way nothing is known."""
        digest = self.summary.trace_sha256
        return self.summary.status == "running" or digest is None or sha256(content) == digest

    def trace_bytes(self) -> bytes:
        """What trace.csv holds, up to the last whole line of a run that was killed or whose disk was full.

        Raises:
            Damaged: there is no trace.csv.
        """
        try:
            content = (self.directory / "trace.csv").read_bytes()
        except FileNotFoundError as error:
            raise Damaged(f"{self.directory} is damaged: it has no trace.csv") from error
        if self.summary.status == "running" or self.summary.trace_sha256 is None:
            content = content[: content.rfind(b"\n") + 1]
        return content


@dataclass(frozen=True)
class Checkpoint:
    """Where a run can go on from.

    Attributes:
        step: the number of steps done.
        seconds: the wall time they took.
        trace_bytes, trace_sha256: how much of trace.csv belongs to them, and its SHA-256.
        reference: `Chunk.reference` where the engine was saved, in hexadecimal digits, or None.
        engine: what `Engine.save` returned, at this step or, while steps are being derived, before.
    """

    step: int
    seconds: float
    trace_bytes: int
    trace_sha256: str
    reference: str | None
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
        write_atomically(path, sha256(body).encode() + b"\n" + body)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a checkpoint back.

        Raises:
            Damaged: the file is not, byte for byte, what was written.
            FileNotFoundError: there is none.
        """
        digest, _, body = path.read_bytes().partition(b"\n")
        if sha256(body).encode() != digest:
            raise Damaged(f"{path} is damaged: its checksum is wrong")
        header, _, engine = body.partition(b"\n")
        fields = json.loads(header)
        if fields.pop("schema") > SCHEMA:
            raise NoSuchRun(f"{path} was written by a newer version of amsgrad-exp")
        return cls(engine=engine, **fields)


class TraceWriter:
    """trace.csv under way: appended to, with the SHA-256 of all that it holds."""

    def __init__(self, path: Path, kept: bytes = b"") -> None:
        """Open the file anew, or cut it back to what of it is ``kept``."""
        self._empty = not kept
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._digest = hashlib.sha256(kept)
        self._file.truncate(len(kept))
        self._file.write(kept)
        self._file.flush()

    def append(self, trace: Trace) -> None:
        """Hand the rows of ``trace`` to the operating system.

        Raises:
            OSError: it does not take them.
        """
        if not len(trace):
            return
        rows = format_rows(trace, header=self._empty)
        self._empty = False
        self._file.write(rows)
        self._file.flush()
        self._digest.update(rows)

    def sync(self) -> tuple[int, str]:
        """Wait until all rows are on the disk; return the file's size in bytes and its SHA-256.

        Raises:
            OSError: the disk does not take them.
        """
        os.fsync(self._file.fileno())
        return self._file.tell(), self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()


def format_rows(trace: Trace, *, header: bool) -> bytes:
    """The lines of a trace in trace.csv: the shortest digits that read back to the same bits."""
    columns = trace.columns
    names = ",".join(columns) + "\n" if header else ""
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return (names + "".join(",".join(map(repr, row)) + "\n" for row in rows)).encode()


def parse_trace(content: bytes) -> Trace:
    """The rows of a trace.csv.

    Raises:
        Damaged: a row is not a whole number and finite ones, or the last one is cut off.
    """
    if not content:
        return Trace.empty()
    names = content[: content.find(b"\n")].decode(errors="replace").split(",")
    if names not in (COLUMNS[:4], COLUMNS) or not content.endswith(b"\n"):
        raise Damaged("trace.csv is damaged: its first or last line is not whole")
    dtype = np.dtype([(name, np.int64 if name == "step" else np.float64) for name in names])
    try:
        rows = np.loadtxt(io.BytesIO(content), dtype, delimiter=",", skiprows=1, ndmin=1, comments=None)
    except (ValueError, OverflowError) as error:
        raise Damaged(f"trace.csv is damaged: {error}") from error
    trace = Trace(*(np.ascontiguousarray(rows[name]) for name in names))
    if not all(np.isfinite(column).all() for column in trace.columns.values()):
        raise Damaged("trace.csv is damaged: it holds a number that is not finite")
    return trace


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file as a whole: write beside it, fsync, rename, fsync the directory.

    Raises:
        OSError: something of that failed; the file is then as it was, or as it was to be.
    """
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
    pid = directory / "lock.pid"
    try:
        with FileLock(directory / "lock", timeout=0):
            pid.write_text(str(os.getpid()))
            yield
    except Timeout as error:
        owner = f"process {pid.read_text()}" if pid.exists() else "another process"
        raise RunError(f"{directory} is in use by {owner}") from error


def last_checkpoint(directory: Path) -> tuple[Checkpoint | None, str | None]:
    """The newest checkpoint that can be believed, and one line on those that cannot."""
    trouble = None
    trace = (directory / "trace.csv").read_bytes() if (directory / "trace.csv").exists() else b""
    for name in ("checkpoint", "checkpoint.previous"):
        try:
            checkpoint = Checkpoint.read(directory / name)
        except FileNotFoundError:
            continue
        except Damaged as error:
            trouble = f"{error}; going on from before it"
            continue
        if sha256(trace[: checkpoint.trace_bytes]) == checkpoint.trace_sha256:
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
    if sha256((directory / "experiment.yaml").read_bytes()) != summary.experiment_sha256:
        raise Damaged(f"{directory / 'experiment.yaml'} is damaged: it is not what was recorded")
    try:
        return Run(directory, read_complete(directory / "experiment.yaml"), summary)
    except ConfigError as error:
        raise Damaged(f"{directory} is damaged: {error}") from error


def list_runs(out: Path, on_unreadable: Callable[[str], object] = lambda reason: None) -> list[Run]:
    """All runs under ``out``, oldest first; why one cannot be read is handed to ``on_unreadable``."""
    runs = []
    for path in sorted(out.glob("*/*/summary.json")):
        try:
            runs.append(read_run(path.parent))
        except (RunError, OSError) as error:
            on_unreadable(str(error))
    return sorted(runs, key=lambda run: run.summary.started)


def find_run(reference: str, out: Path) -> Run:
    """The run named by a directory, by an id or the beginning of one under ``out``, or by ``last``.

    Raises:
        NoSuchRun: there is no such run, or more than one.
    """
    return read_run(find_directory(reference, out))


def find_directory(reference: str, out: Path) -> Path:
    """The directory of a run or a sweep; the arguments are `find_run`'s.

    Raises:
        NoSuchRun: there is none, or more than one.
    """
    with contextlib.suppress(OSError):  # what is too long for a path may still be said to be no run
        if (directory := Path(reference)).is_dir():
            return directory.resolve()
    if reference == "last":
        runs = list_runs(out)
        if not runs:
            raise NoSuchRun(f"there are no runs under {out}")
        return runs[-1].directory
    found = [path for path in sorted(out.glob("*/*")) if path.is_dir() and path.name.startswith(reference)]
    if len(found) != 1:
        how_many = "no run" if not found else f"{len(found)} runs"
        raise NoSuchRun(f"{how_many} under {out} with an id that begins with {reference!r}: see amsgrad-exp list runs")
    return found[0].resolve()
