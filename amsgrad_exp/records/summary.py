"""Writes and reads summary.json: a run's status, its result, and the versions and platform that produced it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import platform
import subprocess
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from amsgrad_exp.engines.batch import Driven
from amsgrad_exp.engines.summarize import Result
from amsgrad_exp.records.files import read_document, sha256, write_document
from amsgrad_exp.rules import OPTIMIZERS

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

PACKAGE = Path(__file__).parent.parent
RESULT_FIELDS = tuple(field.name for field in fields(Result))
PACKAGES = ("amsgrad-exp", "labml", "llvmlite", "numba", "numpy", "torch")


class Origin(BaseModel):
    """The versions, platform and code on which the bits of a run may depend."""

    versions: dict[str, str]  # of Python and of packages, by name
    platform: str  # operating system, processor and C library
    git_commit: str | None  # the checkout's, with "-dirty" if tracked files have changes; None without a checkout
    code: str | None = None  # SHA-256 of the package's own source files; None in records of 0.1.0
    optimizer: str | None = None  # SHA-256 of an imported optimizer's files; None if there are none, or before 0.3.0

    def facts(self) -> dict[str, str]:
        """The facts by name, each as a short string."""
        code = self.code[:12] if self.code else "unknown"
        optimizer = {"optimizer's code": self.optimizer[:12]} if self.optimizer else {}
        commit = self.git_commit or "none"
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

    @classmethod
    def first(cls, trial: Trial, driven: Driven, shared_between: str | None) -> Summary:
        """That of a run that begins now, of an optimizer that is driven so."""
        return cls(
            status="running",
            optimizer=trial.optimizer.name,
            problem=trial.problem.name,
            **{name: getattr(trial, name) for name in ("schedule", "dtype", "steps", "seeds")},
            **asdict(driven),
            shared_between=shared_between,
            started=datetime.now(UTC),
            experiment_sha256=sha256(trial.to_yaml().encode()),
            sessions=[Origin.here(trial.optimizer.name)],
        )

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
