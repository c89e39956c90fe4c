"""Compares cells with theory: a gauntlet's cells with published claims, and a sweep's plane with the drift."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.rules.claims import NOTHING, Claim
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.spec.read import SETTINGS
from amsgrad_exp.spec.sweep import Sweep
from amsgrad_exp.sweeps.store import Results, Row
from amsgrad_exp.theory import drift
from amsgrad_exp.verdict import Evidence, Trend, Verdict


@dataclass(frozen=True)
class Cell:
    """A finished cell: its row, its trial, the claim about its optimizer, and whether the claim covers it."""

    row: Row
    trial: Trial
    claim: Claim
    covered: bool

    @property
    def proved(self) -> bool:
        """Whether the cell's result is a proof."""
        return bool(self.row["evidence"] == Evidence.PROOF)

    @property
    def sign(self) -> str:
        """A star if the claim covers the cell, an exclamation mark if the cell contradicts it."""
        return "!" if self.contradicted else "*" if self.covered else ""

    @property
    def contradicted(self) -> bool:
        """Whether the cell contradicts a claim that covers it.

        It does if its iterates stay at the worst point and its average regret does not vanish. A cell whose iterates
        still move may satisfy a bound of order √T, whose constants can be large.
        """
        at_worst = self.row["iterate"] in (Verdict.WORST, Verdict.AWAY)
        return self.covered and at_worst and self.row["regret_trend"] == Trend.NOT_VANISHING

    def document(self) -> dict[str, Any]:
        """The fields that ``--json`` prints."""
        claim = self.claim
        return {
            **{name: value for name, value in self.row.items() if name != "cell"},
            "lr": self.trial.optimizer.lr,
            "step_sizes": self.trial.schedule,
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
        return itertools.product(self.gauntlet.axes["settings"], self.gauntlet.axes["schedule"])

    def plane(self, settings: str, schedule: str) -> dict[str, list[Cell | None]]:
        """Return each optimizer's cells on all problems; None for a cell that is not done."""
        gauntlet = self.gauntlet
        return {
            optimizer: [self.cells.get((optimizer, problem, schedule, settings)) for problem in gauntlet.problems]
            for optimizer in gauntlet.optimizers
        }

    def document(self, shared_between: Mapping[str, str | None]) -> dict[str, Any]:
        """The fields that ``--json`` prints, given what each optimizer's parameters share."""
        shared = {label: {"shared_between": between} for label, between in shared_between.items()}
        return {"schema": 1, "cells": [cell.document() | shared[label] for (label, *_), cell in self.cells.items()]}


def verdicts(gauntlet: Gauntlet, results: Results) -> Matrix:
    """Make the matrix of the finished cells."""
    cells = {}
    for row in results.rows():
        trial = gauntlet.trial(row["cell"])
        known = OPTIMIZERS.get(trial.optimizer.name)
        claim = known.claim if known else NOTHING
        covered = claim.covers(trial.optimizer, trial.problem, trial.schedule)
        where = row["optimizer"], row["problem"], row["schedule"], row["settings"]
        cells[where] = Cell(row, trial, claim, covered)
    return Matrix(gauntlet, cells)


def boundary(sweep: Sweep, optimizer: str) -> tuple[NDArray[np.float64], ...] | None:
    """Compute an optimizer's drift over the plane of a sweep with two axes; theory's boundary is its zero contour.

    Returns:
        The first axis, the second axis, and the drift at (second, first): float64 of shapes (points,), (points,) and
        (points, points), where points is 200, or 50 if neither axis is a setting. The drift is NaN where the problem is
        invalid or no steady state is known. None if it is NaN everywhere.
    """
    points = 200 if set(sweep.axes) & set(SETTINGS) else 50
    mesh_x, mesh_y = (
        _refined(values, points, whole=sweep.targets[name].kind is int) for name, values in sweep.axes.items()
    )
    mesh: dict[str, NDArray[np.float64]] = dict(zip(sweep.axes, np.meshgrid(mesh_x, mesh_y), strict=True))
    drifts = np.full((points, points), np.nan)
    constants = np.stack([mesh[name] for name in mesh if name not in SETTINGS] or [np.zeros((points, points))])
    for combination in np.unique(constants.reshape(len(constants), -1), axis=1).T:
        where = np.all(constants == combination[:, None, None], axis=0)
        try:
            trial = sweep.at(optimizer, {name: float(mesh[name][where][0]) for name in mesh})
            beta1, beta2, eps = (
                mesh[name][where] if name in mesh else getattr(trial.optimizer, name)
                for name in ("beta1", "beta2", "eps")
            )
            drifts[where] = drift(trial.problem, trial.optimizer.name, beta1, beta2, eps, trial.optimizer.options)
        except ConfigError:  # the problem is invalid, or no steady state is known
            continue
    return None if np.isnan(drifts).all() else (mesh_x, mesh_y, drifts)


def _refined(values: Sequence[float], points: int, *, whole: bool) -> NDArray[np.float64]:
    """Make a finer axis with the same range and spacing; integers stay integers."""
    at = np.linspace(0, len(values) - 1, points)
    refined = np.interp(at, np.arange(len(values)), values)
    return np.round(refined) if whole else refined


def interval(sweep: Sweep, mean_x: NDArray[np.float64]) -> tuple[float, float]:
    """Return the lowest and highest ends of the cells' intervals, or of their mean iterates if x is unbounded."""
    lows, highs = zip(*{trial.problem.interval for trial in sweep.representatives()}, strict=True)
    low = min(lows) if np.isfinite(min(lows)) else float(np.nanmin(mean_x))
    return low, max(highs) if np.isfinite(max(highs)) else float(np.nanmax(mean_x))
