"""attack.json: what an attack was asked, what came out, and what that may depend on."""

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

from amsgrad_exp.attack.search import Limits
from amsgrad_exp.errors import Damaged
from amsgrad_exp.records.document import read_document, validated, write_document
from amsgrad_exp.records.summary import Origin
from amsgrad_exp.spec.command import optimizer_words
from amsgrad_exp.spec.optimizer import OptimizerSettings

SCHEMA = 1
KIND = "an attack's result"

RunId = Annotated[str, Field(pattern=r"^\w[\w-]*$")]


class Shrunk(BaseModel):
    """A step of shrinking: a problem in words, its period, and how much of all movement leads to the worst end."""

    model_config = ConfigDict(frozen=True)

    problem: str
    period: PositiveInt
    drift: FiniteFloat


class CounterexampleRecord(BaseModel):
    """A problem on which the optimizer goes to the worst point; one only where it is confirmed.

    Attributes:
        period: P.
        slopes: over one period.
        optimum: x*, −1 or 1.
        config: the experiment that repeats the first run, as it was found from where the attack was made.
        confirmed: whether every run that was to be made went to the worst end and stayed there.
        regret: R(T)/T with step sizes α/√t, from x*.
        limit_regret: the exact limit of R(T)/T with a constant step size.
        runs: the ids of the runs that confirm it, or were to; None in records that did not know them.
        config_sha256: of counterexample.yaml; None likewise.
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

    What is None by default, records from before there were checksums did not know.

    Attributes:
        optimizer: its name.
        problems, falls, survives, unsettled: how many were tried, and what they did.
        found: whether there is a confirmed counterexample.
        counterexample: the smallest problem that fell, or the smallest that was confirmed; None where none fell.
        smallest_period: the smallest period at which anything fell.
        seconds: wall time, confirmation included.
        shrinking: from the smallest problem that fell in the search to what it was shrunk to.
        settings: of the optimizer, complete.
        limits: how far the search was to go.
        search_seconds: wall time of searching and shrinking.
        interrupted: whether it was ended early.
        started: when.
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
    limits: Limits | None = None
    search_seconds: FiniteFloat | None = None
    interrupted: bool = False
    started: datetime | None = None
    origin: Origin | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.problems != self.falls + self.survives + self.unsettled:
            raise ValueError("the problems are not those that fell, survived and did not settle")
        if self.found != (self.counterexample is not None and self.counterexample.confirmed):
            raise ValueError("what was found is not a confirmed counterexample")
        return self

    @field_serializer("settings")
    def _without_what_it_lacks(self, settings: OptimizerSettings | None) -> dict[str, Any] | None:
        return settings.model_dump(mode="json", exclude_none=True) if settings else None

    def document(self) -> dict[str, Any]:
        """What ``--json`` says, and attack.json but for its checksum."""
        return self.model_dump(mode="json", by_alias=True)

    def command(self) -> str | None:
        """The ``amsgrad-exp attack`` that repeats it; None where the settings are not known."""
        if self.settings is None or self.limits is None:
            return None
        words = ["amsgrad-exp", "attack", *optimizer_words(self.settings.model_dump(mode="json", exclude_none=True))]
        limits = {name.replace("_", "-"): value for name, value in asdict(self.limits).items() if value is not None}
        return shlex.join([*words, *(f"--{name}={value}" for name, value in limits.items())])

    def write(self, directory: Path) -> None:
        """Replace the directory's attack.json; its last key is the SHA-256 of the others.

        Raises:
            OSError: it cannot be written.
        """
        write_document(directory / "attack.json", self.document())

    @classmethod
    def read(cls, directory: Path) -> AttackRecord:
        """Read it back; of a record from before there were checksums, what adds up is believed.

        Raises:
            NoSuchRun: it was written by a newer version.
            Damaged: it is not what was written.
        """
        path = directory / "attack.json"
        content, has_checksum = read_document(path, KIND)
        if not has_checksum and "origin" in content:
            raise Damaged(f"{path} is damaged: its checksum is wrong")
        return validated(cls, content, path, KIND, SCHEMA)
