"""Holds the outcome of an attack."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from amsgrad_exp.attacks.confirm import Confirmation
from amsgrad_exp.attacks.record import AttackRecord, CounterexampleRecord, Shrunk
from amsgrad_exp.attacks.search import Fall, Found, Limits
from amsgrad_exp.attacks.sequences import in_words
from amsgrad_exp.engines.held import Slopes
from amsgrad_exp.records.files import sha256
from amsgrad_exp.records.run import Run
from amsgrad_exp.records.summary import Origin
from amsgrad_exp.rules.settings import OptimizerSettings


@dataclass(frozen=True)
class Counterexample:
    """A problem on which an optimizer goes to the worst point; a counterexample only if it is confirmed.

    Attributes:
        confirmation: the problem and the runs that confirm it.
        config: the experiment that repeats the first of them, with a constant step size from x*.
    """

    confirmation: Confirmation
    config: Path

    @property
    def slopes(self) -> Slopes:
        """The slopes of one period."""
        return self.confirmation.fall.slopes

    @property
    def optimum(self) -> float:
        """x*, an end of [−1, 1]."""
        return -1.0 if sum(self.slopes) > 0 else 1.0

    @property
    def confirmed(self) -> bool:
        """Whether every planned run went to the worst end and stayed there."""
        return self.confirmation.confirmed

    @property
    def words(self) -> str:
        """The problem in words, on one line."""
        return in_words(self.slopes)

    def run(self, schedule: str) -> Run | None:
        """The first completed run with this schedule, which starts at x*; None if there is none."""
        completed = (run for run in self.confirmation.runs if run.summary.status == "completed")
        return next((run for run in completed if run.trial.schedule == schedule), None)

    @property
    def regret(self) -> float | None:
        """R(T)/T with step sizes α/√t, from x*."""
        run = self.run("inv-sqrt")
        return run.result.regret if run else None

    @property
    def limit_regret(self) -> float | None:
        """The exact limit of R(T)/T with a constant step size, if that run repeats itself bit for bit."""
        run = self.run("constant")
        return run.result.limit_regret if run else None

    def record(self) -> CounterexampleRecord:
        """The part of attack.json about it."""
        return CounterexampleRecord(
            period=len(self.slopes),
            slopes=self.slopes,
            optimum=self.optimum,
            config=str(self.config),
            confirmed=self.confirmed,
            regret=self.regret,
            limit_regret=self.limit_regret,
            runs=tuple(run.run_id for run in self.confirmation.runs),
            config_sha256=sha256(self.config.read_bytes()),
        )


@dataclass(frozen=True)
class Attack:
    """The outcome of an attack.

    Attributes:
        settings: the optimizer's complete settings.
        shared_between: what the optimizer ties together, as `engines.shared_between`.
        limits: the limits of the search.
        directory: where the attack is stored.
        found: the results of the search.
        way: the steps of shrinking, from the smallest problem that fell in the search to the final one.
        counterexample: the smallest confirmed problem, else the smallest that fell; None if none fell.
        started: when it was started.
        search_seconds: wall time of search and shrinking.
        seconds: wall time, including confirmation.
        interrupted: whether it was ended early.
        total: how many problems are tried if none fails.
        finished: whether search and shrinking were completed.
    """

    settings: OptimizerSettings
    shared_between: str | None
    limits: Limits
    directory: Path
    found: Found
    way: Sequence[Fall]
    counterexample: Counterexample | None
    started: datetime
    search_seconds: float
    seconds: float
    interrupted: bool
    total: int
    finished: bool

    @property
    def optimizer(self) -> str:
        """The optimizer's name."""
        return self.settings.name

    @property
    def failed(self) -> bool:
        """Whether there is a confirmed counterexample: the optimizer fails."""
        return self.counterexample is not None and self.counterexample.confirmed

    @property
    def settled(self) -> bool:
        """Whether at least one problem settled, so that the search gives an answer."""
        return bool(self.found.falls or self.found.survives)

    @property
    def smallest_period(self) -> int | None:
        """The smallest period of a problem that fell during search or shrinking."""
        return min((len(fall.slopes) for fall in (*self.found.fallen, *self.way)), default=None)

    @functools.cached_property
    def record(self) -> AttackRecord:
        """The content of attack.json."""
        return AttackRecord(
            optimizer=self.optimizer,
            problems=self.found.problems,
            falls=self.found.falls,
            survives=self.found.survives,
            unsettled=self.found.unsettled,
            found=self.failed,
            counterexample=self.counterexample.record() if self.counterexample else None,
            smallest_period=self.smallest_period,
            seconds=round(self.seconds, 3),
            shrinking=[
                Shrunk(problem=in_words(fall.slopes), period=len(fall.slopes), drift=fall.outward) for fall in self.way
            ],
            settings=self.settings,
            shared_between=self.shared_between,
            limits=self.limits,
            search_seconds=round(self.search_seconds, 3),
            interrupted=self.interrupted,
            finished=self.finished,
            started=self.started,
            origin=Origin.here(self.optimizer),
        )

    def document(self) -> dict[str, Any]:
        """The fields that ``--json`` prints."""
        return self.record.document()
