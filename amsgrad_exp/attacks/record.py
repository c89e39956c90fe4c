"""Writes and reads attack.json: the settings, the outcome and the origin of an attack."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    field_serializer,
    model_validator,
)

from amsgrad_exp.attacks.search import Limits
from amsgrad_exp.errors import Damaged
from amsgrad_exp.records.files import read_document, validated, write_document
from amsgrad_exp.records.summary import Origin
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.spec.read import optimizer_words

SCHEMA = 1
KIND = "an attack's result"

RunId = Annotated[str, Field(pattern=r"^\w[\w-]*$")]


class Shrunk(BaseModel):
    """A step of shrinking: a problem in words, its period, and the part of all movement that leads to the worst end."""

    model_config = ConfigDict(frozen=True)

    problem: str
    period: PositiveInt
    drift: FiniteFloat


class CounterexampleRecord(BaseModel):
    """A problem on which the optimizer goes to the worst point; a counterexample only if it is confirmed.

    Attributes:
        period: P.
        slopes: the slopes of one period.
        optimum: x*, −1 or 1.
        config: the path of the experiment that repeats the first run, relative to the attack's working directory.
        confirmed: whether every planned run went to the worst end and stayed there.
        regret: R(T)/T with step sizes α/√t, from x*.
        limit_regret: the exact limit of R(T)/T with a constant step size.
        runs: the ids of the runs made to confirm it; None in older records.
        config_sha256: the SHA-256 of counterexample.yaml; None in older records.
    """

    model_config = ConfigDict(frozen=True)

    period: PositiveInt
    slopes: tuple[int, ...]
    optimum: FiniteFloat
    config: str
    confirmed: bool
    regret: FiniteFloat | None
    limit_regret: FiniteFloat | None
    runs: tuple[RunId, ...] | None = None
    config_sha256: str | None = None

    @model_validator(mode="after")
    def _is_of_its_slopes(self) -> Self:
        total = sum(self.slopes)
        if len(self.slopes) != self.period or total == 0 or self.optimum != (-1.0 if total > 0 else 1.0):
            raise ValueError("period and optimum are not those of the slopes")
        return self


class AttackRecord(BaseModel):
    """An attack's attack.json.

    The fields whose default is None are missing in records from before there were checksums.

    Attributes:
        optimizer: its name.
        problems, falls, survives, unsettled: the number of problems tried, and of each outcome.
        found: whether there is a confirmed counterexample.
        counterexample: the smallest confirmed problem, else the smallest that fell; None if none fell.
        smallest_period: the smallest period of a problem that fell.
        seconds: wall time, including confirmation.
        shrinking: the steps from the smallest problem that fell in the search to the final one.
        settings: the optimizer's complete settings.
        shared_between: what the optimizer ties together, as `engines.shared_between`.
        limits: the limits of the search.
        search_seconds: wall time of search and shrinking.
        interrupted: whether it was ended early.
        finished: whether search and shrinking were completed; None in records of version 0.2.0.
        started: when it was started.
        origin: versions, platform, commit and code.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    optimizer: str
    problems: NonNegativeInt
    falls: NonNegativeInt
    survives: NonNegativeInt
    unsettled: NonNegativeInt
    found: bool
    counterexample: CounterexampleRecord | None
    smallest_period: PositiveInt | None
    seconds: FiniteFloat
    shrinking: tuple[Shrunk, ...] = ()
    settings: OptimizerSettings | None = None
    shared_between: str | None = None
    limits: Limits | None = None
    search_seconds: FiniteFloat | None = None
    interrupted: bool = False
    finished: bool | None = None
    started: datetime | None = None
    origin: Origin | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.problems != self.falls + self.survives + self.unsettled:
            raise ValueError("problems is not the sum of falls, survives and unsettled")
        if self.found != (self.counterexample is not None and self.counterexample.confirmed):
            raise ValueError("found does not agree with the counterexample")
        return self

    @field_serializer("settings")
    def _without_what_it_lacks(self, settings: OptimizerSettings | None) -> dict[str, Any] | None:
        return settings.model_dump(mode="json", exclude_none=True) if settings else None

    def document(self) -> dict[str, Any]:
        """The fields that ``--json`` prints, and those of attack.json without its checksum."""
        return self.model_dump(mode="json", by_alias=True)

    def command(self) -> str | None:
        """The ``amsgrad-exp attack`` command that repeats it; None if the settings are unknown."""
        if self.settings is None or self.limits is None:
            return None
        words = ["amsgrad-exp", "attack", *optimizer_words(self.settings.model_dump(mode="json", exclude_none=True))]
        limits = {name.replace("_", "-"): value for name, value in asdict(self.limits).items() if value is not None}
        return shlex.join([*words, *(f"--{name}={value}" for name, value in limits.items())])

    def write(self, directory: Path) -> None:
        """Replace the directory's attack.json."""
        write_document(directory / "attack.json", self.document())

    @classmethod
    def read(cls, directory: Path) -> AttackRecord:
        """Read a directory's attack.json; an old record without a checksum is only checked for consistency.

        Raises:
            NoSuchRun: it was written by a newer version.
            Damaged: it is damaged.
        """
        path = directory / "attack.json"
        content, has_checksum = read_document(path, KIND)
        if not has_checksum and "origin" in content:
            raise Damaged(f"{path} is damaged: its checksum is wrong")
        return validated(cls, content, path, KIND, SCHEMA)
