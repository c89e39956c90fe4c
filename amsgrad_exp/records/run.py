"""Reads recorded runs and finds them by name.

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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amsgrad_exp.driver.result import Result
from amsgrad_exp.errors import Damaged, NoSuchRun, RunError
from amsgrad_exp.records.files import in_use, sha256
from amsgrad_exp.records.summary import Summary
from amsgrad_exp.records.trace_csv import parse_trace
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import read_complete
from amsgrad_exp.trace import Trace

FILES = ("experiment.yaml", "summary.json", "trace.csv", "checkpoint")


@dataclass(frozen=True)
class Run:
    """A recorded run.

    Attributes:
        directory: the directory with the run's files.
        trial: what was run.
        summary: its status and result.
        logged: the logged points if they are in memory, so that `trace` need not read them; else None.
    """

    directory: Path
    trial: Trial
    summary: Summary
    logged: Trace | None = field(default=None, repr=False, compare=False)

    @property
    def run_id(self) -> str:
        return self.directory.name

    @property
    def result(self) -> Result:
        """The result of the run.

        Raises:
            RunError: the run is not complete.
        """
        if self.summary.result is None:
            raise RunError(f"{self.directory} is {self.status()}: it has no result")
        return self.summary.result

    def document(self) -> dict[str, Any]:
        """The fields that ``--json`` prints: the summary without the fields about the record itself."""
        left_out = {
            "schema_",
            "status",
            "reason",
            "unsaved",
            "started",
            "experiment_sha256",
            "trace_sha256",
            "sessions",
        }
        if self.summary.seeds == 1:
            left_out |= {"seeds", "mean_x_halfwidth", "regret_halfwidth"}
        said = {name: value for name, value in self.summary.model_dump().items() if name not in left_out}
        return said | {"directory": str(self.directory)}

    def status(self) -> str:
        """The summary's status, but "killed" if it says "running" and no process is writing to the directory."""
        if self.summary.status == "running" and not in_use(self.directory):
            return "killed"
        return self.summary.status

    @functools.cached_property
    def trace(self) -> Trace:
        """All logged points; for a run that was killed, the complete lines of trace.csv.

        Raises:
            Damaged: trace.csv is damaged.
        """
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
        """The content of trace.csv, up to the last complete line if the run was killed or the disk was full.

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


def read_run(directory: Path) -> Run:
    """Read a run's experiment and summary.

    Raises:
        NoSuchRun: the directory is not a run, or was written by a newer version.
        Damaged: a file is damaged.
    """
    there = [name for name in FILES if (directory / name).is_file()]
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


def list_runs(out: Path, on_unreadable: Callable[[str], object] = lambda reason: None) -> list[Run]:
    """All runs under ``out``, oldest first; ``on_unreadable`` is called with the reason if one cannot be read."""
    runs = []
    for path in sorted(out.glob("*/*/summary.json")):
        try:
            runs.append(read_run(path.parent))
        except (RunError, OSError) as error:
            on_unreadable(str(error))
    return sorted(runs, key=lambda run: run.summary.started)


def find_run(reference: str, out: Path) -> Run:
    """Find a run by its directory, by its id under ``out`` or the beginning of the id, or by ``last``.

    Raises:
        NoSuchRun: there is no such run, or more than one.
    """
    return read_run(find_directory(reference, out))


def find_directory(reference: str, out: Path) -> Path:
    """The directory of a run or a sweep; arguments as in `find_run`.

    Raises:
        NoSuchRun: there is none, or more than one.
    """
    with contextlib.suppress(OSError):  # the reference may be too long for a path
        if (directory := Path(reference)).is_dir():
            return directory.resolve()
    if reference == "last":
        runs = list_runs(out)
        if not runs:
            raise NoSuchRun(f"there are no runs under {out}")
        return runs[-1].directory.resolve()
    found = [path for path in sorted(out.glob("*/*")) if path.is_dir() and path.name.startswith(reference)]
    if len(found) != 1:
        how_many = "no run" if not found else f"{len(found)} runs"
        raise NoSuchRun(f"{how_many} under {out} with an id that begins with {reference!r}: see amsgrad-exp list runs")
    return found[0].resolve()
