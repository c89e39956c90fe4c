"""Builds the page of a gauntlet."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.charts.letters import MARKS, PROVED, mark, plane_title
from amsgrad_exp.charts.panels import THIN, Axis, Panel, Plot, as_csv, curves
from amsgrad_exp.report.cells import checked, missing
from amsgrad_exp.report.page import Page
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.spec.read import run_command
from amsgrad_exp.sweeps.matrix import Cell, Matrix, verdicts
from amsgrad_exp.sweeps.store import BLOBS, POINTS, Points
from amsgrad_exp.verdict import Evidence


def page(directory: Path, gauntlet: Gauntlet) -> Page:
    """The page of a complete or unfinished gauntlet: a matrix whose cells unfold.

    Raises:
        Damaged, RunError: as in `cells.checked`.
    """
    with checked(directory, gauntlet) as results:
        matrix = verdicts(gauntlet, results)
        cells = list(matrix.cells.values())
        points = {cell.row["cell"]: results.points(cell.row["cell"]) for cell in cells}
        notes = missing(directory, gauntlet, len(cells))
        if not results.has_points:
            notes.append(
                "The points of the cells were not stored, so cells have no curve here: a cell's command records it."
            )
    problems = gauntlet.problems
    drawn = {cell: known for cell, known in points.items() if known}
    rows = [_row(gauntlet, cell) for cell in cells]
    return Page(
        template="gauntlet.html",
        title=f"{len(gauntlet.optimizers)} optimizers on {len(problems)} problems",
        lead=gauntlet.extent,
        plots=_plots(drawn) if drawn else (),
        tables={"cells": as_csv(list(rows[0]), (row.values() for row in rows))},
        content={
            "notes": notes,
            "marks": MARKS,
            "proved": PROVED,
            "problems": problems,
            "planes": [_plane(matrix, settings, schedule) for settings, schedule in matrix.planes()],
            "contradicting": [cell for cell in cells if cell.contradicted],
            "curves": _curves(drawn),
            "settings": gauntlet.to_yaml(),
            "id": directory.name,
            "name": gauntlet.name,
        },
    )


def _curves(points: Mapping[int, Points]) -> dict[str, Any]:
    """The points of all cells: the distinct step arrays, and for each cell its array's index, x and regret in base64.

    Base64 is exact and shorter than decimal digits.
    """
    steps = list(dict.fromkeys(known["step"] for known in points.values()))
    return {
        "steps": [_steps(known).tolist() for known in steps],
        "cells": {
            cell: [steps.index(known["step"]), *(base64.b64encode(known[name]).decode() for name in ("x", "regret"))]
            for cell, known in points.items()
        },
    }


def _steps(packed: bytes) -> NDArray[np.int64]:
    return np.frombuffer(packed, BLOBS["step"])


def _plots(points: Mapping[int, Points]) -> list[Plot]:
    """The figures from which the page picks one for the unfolded cell.

    The regret has a logarithmic axis or not, depending on its range, and a line for its exact limit or not.
    """
    steps = np.concatenate([_steps(packed) for packed in {known["step"] for known in points.values()}]) + 1
    low, high = float(steps.min()), float(steps.max())
    axis = Axis("toNumber(datum.step) + 1", "step t", low if low < high else low / 10, high, log=True)
    drawn = []
    for log, limit in itertools.product((False, True), repeat=2):
        regret = Panel(
            "regret",
            "average regret R(t)/t",
            log=log,
            beside={"limit_regret": ("exact limit", THIN)} if limit else {},
        )
        plot = curves(
            "points",
            ["the cell"],
            axis,
            [regret, Panel("x", "iterate x", beside={"optimum": ("x*", THIN)})],
            title="Its curve",
            alternative="",
            tooltip=[("step", "step"), ("x", "x"), ("regret", "R(t)/t")],
            points=POINTS,
            curve="1",
        )
        drawn.append(dataclasses.replace(plot, name=f"points{'-log' if log else ''}{'-limit' if limit else ''}"))
    return drawn


def _row(gauntlet: Gauntlet, cell: Cell) -> dict[str, Any]:
    """Everything known about a cell, and the command that runs it if options can express it."""
    trial = gauntlet.trial(cell.row["cell"])
    optimum, command = trial.problem.optimum, run_command(trial)
    return {"cell": cell.row["cell"], **cell.document(), "optimum": optimum, "command": command}


def _plane(matrix: Matrix, settings: str, schedule: str) -> dict[str, Any]:
    """A table of optimizers × problems."""
    problems = matrix.gauntlet.problems
    rows = {
        optimizer: [_shown(matrix.cells.get((optimizer, problem, schedule, settings)), problem) for problem in problems]
        for optimizer in matrix.gauntlet.optimizers
    }
    return {
        "name": re.sub(r"\W+", "-", f"{settings}-{schedule}"),
        "title": plane_title(settings, schedule),
        "rows": rows,
    }


def _shown(cell: Cell | None, problem: str) -> dict[str, Any] | None:
    """The content of a table cell; None if the cell is not done."""
    if cell is None:
        return None
    known, proved = mark(cell.row), cell.row["evidence"] == Evidence.PROOF
    claim = "contradicts a claim" if cell.contradicted else "covered by a claim" if cell.covered else None
    said = "; ".join(filter(None, (known.words, "proved" if proved else None, claim)))
    return {
        "cell": cell.row["cell"],
        "rank": MARKS.index(known),
        "letter": known.letter,
        "colour": known.colour,
        "sign": "!" if cell.contradicted else "*" if cell.covered else "",
        "proved": proved,
        "said": f"{problem}: {said}",
    }
