"""summary.json: status, result, and what the bits of a run may depend on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amsgrad_exp.errors import Damaged, NoSuchRun
from amsgrad_exp.records.files import sha256, write_atomically

SCHEMA = 1
PACKAGES = ("amsgrad-exp", "labml", "llvmlite", "numba", "numpy", "torch")


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
