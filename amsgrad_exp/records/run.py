"""Reads recorded runs.

The directory of a run is labml's ``<out>/<name>/<run id>/``. Besides labml's files it contains

    experiment.yaml   the complete experiment, with only this run's optimizer
    trace.csv         the logged points, with enough digits to restore every bit
    checkpoint        the engine's complete state at a position in the trace; checkpoint.previous is the one before
    summary.json      status, result, SHA-256 of the trace, versions, platform, timings

None of it is ever executed. All files except the trace are replaced atomically.
"""

from __future__ import annotations

import functools
import io
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from amsgrad_exp.engines.summarize import Result
from amsgrad_exp.errors import Damaged, NoSuchRun, RunError
from amsgrad_exp.records.files import FILES, in_use, sha256
from amsgrad_exp.records.summary import Summary
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import read_complete
from amsgrad_exp.trace import Trace

COLUMNS = [field.name for field in fields(Trace)]


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
        return parse_trace(content)

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


def parse_trace(content: bytes) -> Trace:
    """Parse the content of trace.csv; Damaged if a row is not an integer and finite numbers, or is cut off."""
    if not content:
        return Trace.empty()
    names = content[: content.find(b"\n")].decode(errors="replace").split(",")
    if names not in (COLUMNS[:4], COLUMNS) or not content.endswith(b"\n"):
        raise Damaged("trace.csv is damaged: its first or last line is incomplete")
    dtype = np.dtype([(name, np.int64 if name == "step" else np.float64) for name in names])
    try:
        rows = np.loadtxt(io.BytesIO(content), dtype, delimiter=",", skiprows=1, ndmin=1, comments=None)
    except (ValueError, OverflowError) as error:
        row = re.search(r"row \d+", str(error))
        where = row.group() if row else "a row"
        raise Damaged(f"trace.csv is damaged: {where} is not {len(names)} numbers") from error
    trace = Trace(*(np.ascontiguousarray(rows[name]) for name in names))
    if not all(np.isfinite(column).all() for column in trace.columns.values()):
        raise Damaged("trace.csv is damaged: it contains a number that is not finite")
    return trace
