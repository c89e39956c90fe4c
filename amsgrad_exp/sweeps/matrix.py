"""Builds a gauntlet's matrix: the result of each cell next to the published claim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from amsgrad_exp import engines
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.rules.claims import NOTHING, Claim
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.sweeps.store import Results, Row
from amsgrad_exp.verdict import Trend, Verdict


@dataclass(frozen=True)
class Cell:
    """A finished cell: its row, the claim about its optimizer, whether that covers it, α, and the whole schedule."""

    row: Row
    claim: Claim
    covered: bool
    lr: float
    schedule: str

    @property
    def contradicted(self) -> bool:
        """Whether the cell contradicts a claim that covers it.

        It does if its iterates stay at the worst point and its average regret does not vanish. A cell whose iterates
        are still on their way may satisfy a bound of order √T, whose constants can be large.
        """
        at_worst = self.row["iterate"] in (Verdict.WORST, Verdict.AWAY)
        return self.covered and at_worst and self.row["regret_trend"] == Trend.NOT_VANISHING

    def document(self) -> dict[str, Any]:
        """The fields that ``--json`` prints."""
        claim = self.claim
        return {
            **{name: value for name, value in self.row.items() if name != "cell"},
            "lr": self.lr,
            "step_sizes": self.schedule,
            "claim": "converges" if self.covered else "none made",
            "theorem": claim.theorem if self.covered else None,
            "refuted": (claim.refuted or None) if self.covered else None,
            "contradicts": self.contradicted,
        }


@dataclass(frozen=True)
class Matrix:
    """The finished cells of a gauntlet, by optimizer, problem, schedule and settings, in the order of their numbers."""

    gauntlet: Gauntlet
    cells: Mapping[tuple[str, str, str, str], Cell]

    def planes(self) -> Iterator[tuple[str, str]]:
        """The pairs of settings and schedule; each has a table of optimizers × problems."""
        return ((settings, schedule) for settings in self.data("settings") for schedule in self.data("schedules"))

    def data(self, key: str) -> list[str]:
        """One of the gauntlet's lists."""
        return list(self.gauntlet.data[key])

    def document(self, shared_between: Mapping[str, str | None]) -> dict[str, Any]:
        """The fields that ``--json`` prints, given what each optimizer ties together."""
        shared = {label: {"shared_between": between} for label, between in shared_between.items()}
        return {"schema": 1, "cells": [cell.document() | shared[label] for (label, *_), cell in self.cells.items()]}


def shared_between(gauntlet: Gauntlet) -> dict[str, str | None]:
    """What each optimizer ties together, as `engines.shared_between`, with its settings on the first problem."""
    return {name: engines.shared_between(gauntlet.example_of(name)) for name in gauntlet.optimizers}


def verdicts(gauntlet: Gauntlet, results: Results) -> Matrix:
    """The matrix of the finished cells."""
    claims = {
        label: OPTIMIZERS[entry["name"]].claim if entry["name"] in OPTIMIZERS else NOTHING
        for label, entry in zip(gauntlet.optimizers, gauntlet.data["optimizers"], strict=True)
    }
    cells = {}
    for row in results.rows():
        trial, claim = gauntlet.trial(row["cell"]), claims[row["optimizer"]]
        cells[row["optimizer"], row["problem"], row["schedule"], row["settings"]] = Cell(
            row=row,
            claim=claim,
            covered=claim.covers(trial.optimizer, trial.problem, trial.schedule),
            lr=trial.optimizer.lr,
            schedule=trial.schedule,
        )
    return Matrix(gauntlet, cells)
