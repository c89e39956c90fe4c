"""Reads recorded runs, and writes their summaries.

The directory of a run is labml's ``<out>/<name>/<run id>/``. Besides labml's files it contains

    experiment.yaml   the complete experiment, with only this run's optimizer
    trace.csv         the logged points, with enough digits to restore every bit
    checkpoint        the engine's complete state at a position in the trace; checkpoint.previous is the one before
    summary.json      status, result, SHA-256 of the trace, versions, platform, timings

None of it is ever executed. All files except the trace are replaced atomically.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import io
import platform
import re
import subprocess
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from amsgrad_exp.engines.summarize import Result
from amsgrad_exp.errors import Damaged, NoSuchRun, RunError
from amsgrad_exp.records.files import FILES, in_use, read_document, sha256, write_document
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import read_complete
from amsgrad_exp.trace import Trace

PACKAGE = Path(__file__).parent.parent
RESULT_FIELDS = tuple(field.name for field in fields(Result))
PACKAGES = ("amsgrad-exp", "labml", "llvmlite", "numba", "numpy", "torch")
COLUMNS = [field.name for field in fields(Trace)]


class Origin(BaseModel):
    """The versions, platform and code on which the bits of a run may depend."""

    versions: dict[str, str]  # of Python and of packages, by name
    platform: str  # operating system, processor and C library
    git_commit: str | None  # the checkout's, with "-dirty" if tracked files have changes; None without a checkout
    code: str | None = None  # SHA-256 of the package's own source files; None in records of 0.1.0
    optimizer: str | None = None  # SHA-256 of an imported optimizer's files; None if there are none, or before 0.3.0

    def facts(self) -> dict[str, str]:
        """The facts by name, each as a short string."""
        code, commit = (self.code or "unknown")[:12], self.git_commit or "none"
        optimizer = {"optimizer's code": self.optimizer[:12]} if self.optimizer else {}
        return {**self.versions, "platform": self.platform, "git commit": commit, "code": code, **optimizer}

    def differences(self, other: Origin) -> list[tuple[str, str, str]]:
        """The facts that differ: name, value here, value in ``other``."""
        ours, theirs = self.facts(), other.facts()
        return [
            (name, ours.get(name, "none"), theirs.get(name, "none"))
            for name in sorted(ours | theirs)
            if ours.get(name) != theirs.get(name)
        ]

    @classmethod
    def here(cls, optimizer: str | None = None) -> Origin:
        """The origin of what this process records of an optimizer: a registered name, or an import path."""
        versions = {"python": platform.python_version()}
        for package in PACKAGES:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[package] = importlib.metadata.version(package)
        return cls(
            versions=versions,
            platform=platform.platform(),
            git_commit=_commit(),
            code=_code(),
            optimizer=_source(optimizer),
        )


def _commit() -> str | None:
    checkout = PACKAGE.parent
    if not (checkout / ".git").exists():
        return None
    # Without --no-optional-locks, git status would write to the checkout's index.
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        answer = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    except OSError:
        return None
    prefix, lines = "# branch.oid ", answer.stdout.splitlines()
    commit = next((line.removeprefix(prefix) for line in lines if line.startswith(prefix)), None)
    dirty = any(not line.startswith("#") for line in lines)
    return f"{commit}-dirty" if dirty else commit


@functools.cache
def _code() -> str:
    """SHA-256 of the package's source, computed once: later edits do not change the code that is running."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(PACKAGE).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _source(optimizer: str | None) -> str | None:
    if optimizer is None or optimizer in OPTIMIZERS:
        return None
    from amsgrad_exp.optimizers.importing import import_optimizer

    try:
        return import_optimizer(optimizer).digest
    except ValueError:
        return None


class Summary(BaseModel):
    """A run's summary.json.

    ``unsaved`` says why the run has no checkpoints, or is None. ``engine``, ``shape`` and all from ``parameters`` to
    ``kernels``: see `engines.batch.Driven`. ``result`` is None until the run is completed; the file has its fields at
    the top level. ``seconds`` is the wall time of simulating and recording, summed over all sessions of the run.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    status: Literal["running", "interrupted", "completed", "failed"]
    reason: str | None = None
    unsaved: str | None = None
    optimizer: str
    problem: str
    schedule: str
    engine: str
    dtype: str
    steps: int
    seeds: int
    shape: str | None = None
    parameters: str | None = None
    closure: bool = False
    graph: bool = False
    shared_between: str | None = None
    not_compiled: str | None = None
    program: str | None = None
    kernels: str | None = None
    result: Result | None = None
    seconds: float = 0.0
    started: datetime
    experiment_sha256: str
    trace_sha256: str | None = None
    sessions: list[Origin]

    @model_validator(mode="before")
    @classmethod
    def _gather_the_result(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "result" in data:
            return data
        result = {name: data.get(name) for name in RESULT_FIELDS}
        others = {name: value for name, value in data.items() if name not in RESULT_FIELDS}
        return others | {"result": result if result["x"] is not None else None}

    @model_serializer(mode="wrap")
    def _spread_the_result(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        spread: dict[str, Any] = {}
        for name, value in handler(self).items():
            spread |= (value or dict.fromkeys(RESULT_FIELDS)) if name == "result" else {name: value}
        return spread

    def changed(self, **changes: Any) -> Summary:
        """A copy with some fields changed, validated again."""
        return Summary.model_validate(dict(self) | changes)

    def write(self, directory: Path) -> None:
        """Replace the directory's summary.json."""
        write_document(directory / "summary.json", self.model_dump(mode="json", by_alias=True))

    @classmethod
    def read(cls, directory: Path) -> Summary:
        """Read the directory's summary.json; errors as of `read_document`."""
        return read_document(cls, directory / "summary.json", "a run's summary")


@dataclass(frozen=True)
class Run:
    """A recorded run."""

    directory: Path
    trial: Trial  # what was run
    summary: Summary  # its status and result
    logged: Trace | None = field(default=None, repr=False, compare=False)  # the points, if they are in memory

    @property
    def run_id(self) -> str:
        return self.directory.name

    @property
    def result(self) -> Result:
        """The result of the run; a RunError if it is not complete."""
        if self.summary.result is None:
            raise RunError(f"{self.directory} is {self.status()}: it has no result")
        return self.summary.result

    def document(self) -> dict[str, Any]:
        """The fields that ``--json`` prints: the summary without the fields about the record itself."""
        of_the_record = "schema_ status reason unsaved started experiment_sha256 trace_sha256 sessions"
        of_seeds = "seeds mean_x_halfwidth regret_halfwidth" if self.summary.seeds == 1 else ""
        left_out = f"{of_the_record} {of_seeds}".split()
        said = {name: value for name, value in self.summary.model_dump().items() if name not in left_out}
        return said | {"directory": str(self.directory)}

    def status(self) -> str:
        """The summary's status, but "killed" if it says "running" and no process is writing to the directory."""
        if self.summary.status == "running" and not in_use(self.directory):
            return "killed"
        return self.summary.status

    @functools.cached_property
    def trace(self) -> Trace:
        """All logged points; for a run that was killed, the complete lines of trace.csv; Damaged if that is damaged."""
        if self.logged is not None:
            return self.logged
        content = self.trace_bytes()
        if not self.trusts(content):
            raise Damaged(f"{self.directory / 'trace.csv'} is damaged: its checksum is wrong")
        return parse_trace(content, self.directory / "trace.csv")

    def trusts(self, content: bytes) -> bool:
        """Whether trace.csv had this content when the run last ended; always True while the run is going on."""
        digest = self.summary.trace_sha256
        return self.summary.status == "running" or digest is None or sha256(content) == digest

    def trace_bytes(self) -> bytes:
        """The content of trace.csv, up to the last complete line if the run was killed or the disk was full."""
        try:
            content = (self.directory / "trace.csv").read_bytes()
        except FileNotFoundError as error:
            raise Damaged(f"{self.directory} is damaged: it has no trace.csv") from error
        if self.summary.status == "running" or self.summary.trace_sha256 is None:
            content = content[: content.rfind(b"\n") + 1]
        return content


def read_run(directory: Path) -> Run:
    """Read a run's experiment and summary; NoSuchRun if there is none or a newer version wrote it, else Damaged."""
    there = [name for name in FILES["run"] if (directory / name).is_file()]
    for name in ("experiment.yaml", "summary.json"):
        if not there:
            raise NoSuchRun(f"{directory} is not a run: it has no {name}")
        if name not in there:
            raise Damaged(f"{directory} is damaged: it has no {name}")
    summary = Summary.read(directory)
    if sha256((directory / "experiment.yaml").read_bytes()) != summary.experiment_sha256:
        raise Damaged(f"{directory / 'experiment.yaml'} is damaged: its checksum is wrong")
    try:
        (trial,) = read_complete(directory / "experiment.yaml").trials()
    except ValueError as error:
        raise Damaged(f"{directory} is damaged: {error}") from error
    return Run(directory, trial, summary)


def format_rows(trace: Trace, *, header: bool) -> bytes:
    """A trace as lines of trace.csv, with the shortest digits that restore every bit."""
    columns = trace.columns
    names = ",".join(columns) + "\n" if header else ""
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return (names + "".join(",".join(map(repr, row)) + "\n" for row in rows)).encode()


def parse_trace(content: bytes, path: Path) -> Trace:
    """Parse the content of a trace.csv; Damaged if a row is not an integer and finite numbers, or is cut off."""
    if not content:
        return Trace.empty()
    names = content[: content.find(b"\n")].decode(errors="replace").split(",")
    if names not in (COLUMNS[:4], COLUMNS) or not content.endswith(b"\n"):
        raise Damaged(f"{path} is damaged: its first or last line is incomplete")
    dtype = np.dtype([(name, np.int64 if name == "step" else np.float64) for name in names])
    try:
        rows = np.loadtxt(io.BytesIO(content), dtype, delimiter=",", skiprows=1, ndmin=1, comments=None)
    except (ValueError, OverflowError) as error:
        row = re.search(r"row \d+", str(error))
        where = row.group() if row else "a row"
        raise Damaged(f"{path} is damaged: {where} is not {len(names)} numbers") from error
    trace = Trace(*(np.ascontiguousarray(rows[name]) for name in names))
    if not all(np.isfinite(column).all() for column in trace.columns.values()):
        raise Damaged(f"{path} is damaged: it contains a number that is not finite")
    return trace
