"""Describes the outcome of an attack, writes it to attack.json, reads it back, and puts it into sentences."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

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
from amsgrad_exp.attacks.slope_sequences import in_words
from amsgrad_exp.errors import NoSuchRun, RunError
from amsgrad_exp.problems import Cycle
from amsgrad_exp.records.files import read_document, sha256, write_document
from amsgrad_exp.records.run import Origin, Run, read_run
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.spec.read import optimizer_words

FOLDER = "counterexample"  # the name of the experiment, and therefore of the folder with its runs
MOST_NAMED = 5  # at most this many missing or damaged runs are named

RunId = Annotated[str, Field(pattern=r"^\w[\w-]*$")]
Outcome = Literal["fails", "suspect, not confirmed", "not finished", "no run settled", "survives"]


class Shrunk(BaseModel):
    """A step of shrinking: a problem in words, its period, and the share of all movement towards the worst end."""

    model_config = ConfigDict(frozen=True)

    problem: str
    period: PositiveInt
    drift: FiniteFloat


class Counterexample(BaseModel):
    """A problem on which the optimizer went to the worst point; it is a counterexample only if it is confirmed."""

    model_config = ConfigDict(frozen=True)

    period: PositiveInt
    slopes: tuple[int, ...]  # the slopes of one period
    optimum: FiniteFloat  # x*, −1 or 1
    config: str  # the path of the experiment that repeats the first run, relative to the attack's working directory
    confirmed: bool  # whether every planned run went to the worst end and stayed there
    regret: FiniteFloat | None  # R(T)/T of the run from x* with step sizes α/√t
    limit_regret: FiniteFloat | None  # its exact limit with a constant step size, if that run repeats itself
    runs: tuple[RunId, ...] | None = None  # the runs that confirm it; None in older records
    config_sha256: str | None = None  # the checksum of counterexample.yaml; None in older records

    @model_validator(mode="after")
    def _is_of_its_slopes(self) -> Self:
        total = sum(self.slopes)
        if len(self.slopes) != self.period or total == 0 or self.optimum != (-1.0 if total > 0 else 1.0):
            raise ValueError("period and optimum are not those of the slopes")
        return self

    @property
    def words(self) -> str:
        return in_words(self.slopes)


class Evidence(NamedTuple):
    """The intact ones of the runs that should confirm a counterexample."""

    runs: Sequence[Run] = ()  # oldest first
    lost: Sequence[str] = ()  # sentences that say what is missing or damaged

    @property
    def of_each_schedule(self) -> dict[str, Run]:
        """The first completed run with each schedule; it starts at x*."""
        first: dict[str, Run] = {}
        for run in self.runs:
            if run.summary.status == "completed":
                first.setdefault(run.trial.schedule, run)
        return first


class Attack(BaseModel):
    """The outcome of an attack, and the content of its attack.json.

    Records from before checksums existed lack the fields whose default is None.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    optimizer: str
    problems: NonNegativeInt  # how many problems were tried
    falls: NonNegativeInt
    survives: NonNegativeInt
    unsettled: NonNegativeInt
    found: bool  # whether there is a confirmed counterexample, so that the optimizer fails
    counterexample: Counterexample | None  # the smallest confirmed problem, else the smallest on which it fails
    smallest_period: PositiveInt | None  # of a failing problem, from the search or from shrinking
    seconds: FiniteFloat  # wall time, including confirmation
    shrinking: tuple[Shrunk, ...] = ()  # from the smallest failing problem of the search to the final one
    settings: OptimizerSettings | None = None  # complete
    shared_between: str | None = None  # what its parameters share, as in `engines.shared_between`
    limits: Limits | None = None
    search_seconds: FiniteFloat | None = None  # wall time of search and shrinking
    interrupted: bool = False
    finished: bool | None = None  # whether search and shrinking were completed; None in records of 0.2.0
    started: datetime | None = None
    origin: Origin | None = None
    directory: Path = Field(exclude=True)  # where the outcome is stored
    total: int | None = Field(default=None, exclude=True)  # how many problems are tried if none fails; None if read

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
        """Return the fields that ``--json`` prints, which are those of attack.json without its checksum."""
        return self.model_dump(mode="json", by_alias=True)

    def command(self) -> str | None:
        """Return the ``amsgrad-exp attack`` command that repeats the attack; None if its settings are unknown."""
        if self.settings is None or self.limits is None:
            return None
        words = ["amsgrad-exp", "attack", *optimizer_words(self.settings.model_dump(mode="json", exclude_none=True))]
        limits = {name.replace("_", "-"): value for name, value in asdict(self.limits).items() if value is not None}
        return shlex.join([*words, *(f"--{name}={value}" for name, value in limits.items())])

    def write(self) -> None:
        write_document(self.directory / "attack.json", self.document())

    @classmethod
    def read(cls, directory: Path) -> Attack:
        """Read a directory's attack.json; only consistency is checked in an old record without a checksum."""
        return read_document(cls, directory / "attack.json", "an attack's result", since="origin", directory=directory)

    @functools.cached_property
    def evidence(self) -> Evidence:
        """Read the runs that should confirm the counterexample; there are none without a counterexample."""
        example, folder = self.counterexample, self.directory / FOLDER
        if example is None:
            return Evidence()
        ids = example.runs
        if ids is None:
            ids = tuple(path.name for path in sorted(folder.glob("*")) if path.is_dir())
        kept: list[Run] = []
        gone: dict[str, list[str]] = {"missing": [], "damaged": []}
        for run_id in ids:
            try:
                run = read_run(folder / run_id)
                intact = run.trusts(run.trace_bytes())
            except NoSuchRun:
                gone["missing"].append(run_id)
            except (RunError, OSError):
                gone["damaged"].append(run_id)
            else:
                problem = run.trial.problem
                if intact and isinstance(problem, Cycle) and problem.slopes == example.slopes:
                    kept.append(run)
                elif example.runs is not None or not intact:
                    gone["damaged"].append(run_id)
        purpose = "confirmed it" if example.confirmed else "were to confirm it"
        lost = [
            f"Of {len(ids):,} runs that {purpose}, {len(some):,} {'is' if len(some) == 1 else 'are'} {how}: "
            f"{_named(some)}."
            for how, some in gone.items()
            if some
        ]
        if example.runs is None and not ids:
            lost.append(f"None of the runs that {purpose} were found.")
        config = self.directory / "counterexample.yaml"
        if not config.is_file():
            lost.append("counterexample.yaml, which repeats the first run, is missing.")
        elif example.config_sha256 is not None and sha256(config.read_bytes()) != example.config_sha256:
            lost.append("counterexample.yaml is damaged: its checksum is wrong.")
        return Evidence(sorted(kept, key=lambda run: run.summary.started), lost)

    @property
    def outcome(self) -> Outcome:
        """The outcome in a word or two."""
        if self.counterexample:
            return "fails" if self.found else "suspect, not confirmed"
        if self.finished is False or (self.finished is None and self.interrupted):
            return "not finished"
        return "survives" if self.falls + self.survives else "no run settled"

    @property
    def verdict(self) -> str:
        """The outcome in a sentence."""
        if example := self.counterexample:
            ends = f"goes to the worst point, x = {-example.optimum:+g}"
            if not example.confirmed:
                why = "the confirmation was interrupted" if self.interrupted else "not confirmed"
                return f"{ends}, in the search; {why}"
            if not self.evidence.runs:
                return "failed, but the evidence is lost: it has to be confirmed again"
            return f"fails: {ends}, and stays there"
        if self.outcome == "not finished":
            return f"not finished, {'interrupted' if self.interrupted else 'out of time'}: {self._tried} problems tried"
        proves = {"survives": ": no counterexample found (this is not a proof)"}
        return self.outcome + proves.get(self.outcome, ", so the search gives no answer")

    def why_not_surviving(self) -> str | None:
        """Say why the attack does not show that the optimizer survives; None if it does."""
        if example := self.counterexample:
            suspected = "a counterexample is suspected, not confirmed:"
            return f"{'fails on' if example.confirmed else suspected} {example.words}"
        more = f": {self._tried} problems tried; increase --seconds" if self.outcome == "not finished" else ""
        return None if self.outcome == "survives" else self.outcome + more

    def facts(self) -> dict[str, str]:
        """Return everything known about the outcome in words, by name."""
        facts, example, runs = {}, self.counterexample, self.evidence.runs
        if example:
            facts["counterexample" if example.confirmed else "suspect"] = example.words
        facts["verdict"] = self.verdict
        if example and example.confirmed and runs:
            facts["confirmed"] = _confirmed(runs, example.optimum, remain=bool(self.evidence.lost))
            lasted = max((run.trial.steps for run in runs if run.trial.schedule == "inv-sqrt"), default=None)
            if example.regret is not None and lasted:
                facts["R(T)/T"] = f"{example.regret:.4g} with step sizes α/√t, T = {lasted:,}"
            if example.limit_regret is not None:
                facts["proof"] = f"with a constant step size, R(T)/T tends to {example.limit_regret:.6g} (exact)"
        counts = f"fails on {self.falls:,}, survives {self.survives:,}, {self.unsettled:,} unsettled"
        smallest = f"; the smallest period on which it fails is {self.smallest_period}" if self.falls else ""
        facts["searched"] = f"{self.problems:,} problems: {counts}{smallest}"
        of_search = self.search_seconds
        searched = "" if of_search is None else f", including {of_search:.1f} s of search and shrinking"
        facts["time"] = f"{self.seconds:.1f} s{searched}{', then interrupted' if self.interrupted else ''}"
        return facts

    @property
    def _tried(self) -> str:
        return f"{self.problems:,}{f' of {self.total:,}' if self.total else ''}"


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MOST_NAMED:,} more" if len(ids) > MOST_NAMED else ""
    return ", ".join(run_id[:8] for run_id in ids[:MOST_NAMED]) + more


def _confirmed(runs: Sequence[Run], optimum: float, *, remain: bool) -> str:
    """Say which runs confirm a counterexample, or with ``remain``, which remaining runs do."""
    starts = {optimum: "x*", 0.0: "the middle", -optimum: "the worst point"}
    names = {"inv-sqrt": "α/√t", "constant": "constant"}
    from_where = [name for start, name in starts.items() if any(run.trial.problem.start == start for run in runs)]
    schedules = [name for schedule, name in names.items() if any(run.trial.schedule == schedule for run in runs)]
    engines, dtypes = ([getattr(run.summary, name) for run in runs] for name in ("engine", "dtype"))
    left = f" that remain{'s' if len(runs) == 1 else ''}" if remain else ""
    start, *rest = (_listed(each) for each in (from_where, schedules, engines, dtypes))
    return f"by {len(runs):,} run{'s' if len(runs) > 1 else ''}{left}: from {', '.join([start, *rest])}"


def _listed(words: Iterable[str]) -> str:
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} and {last}" if first else last
