"""The page of a gauntlet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amsgrad_exp.output.marks import MARKS, PLANES, PROVED, mark
from amsgrad_exp.report.cells import checked, missing
from amsgrad_exp.report.page import Page, as_csv
from amsgrad_exp.spec.command import run_command
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.sweeps.matrix import Cell, Matrix, verdicts
from amsgrad_exp.verdict import Evidence


def page(directory: Path, gauntlet: Gauntlet) -> Page:
    """A page of a gauntlet, as far as it has come: its matrix, whose cells unfold.

    Raises:
        Damaged, RunError: as `cells.checked`.
    """
    with checked(directory, gauntlet) as results:
        matrix = verdicts(gauntlet, results)
    cells = list(matrix.cells.values())
    problems = gauntlet.problems
    rows = [_row(gauntlet, cell) for cell in cells]
    return Page(
        template="gauntlet.html",
        title=f"{len(gauntlet.optimizers)} optimizers on {len(problems)} problems",
        lead=f"{len(gauntlet):,} cells of {gauntlet.data['steps']:,} steps, {gauntlet.data['dtype']}; random problems "
        f"as means over {gauntlet.data['seeds']:,} seeds",
        plots=(),
        tables={"cells": as_csv(list(rows[0]), (row.values() for row in rows))},
        content={
            "missing": missing(directory, gauntlet, len(cells)),
            "marks": MARKS,
            "proved": PROVED,
            "problems": problems,
            "planes": [_plane(matrix, settings, schedule) for settings, schedule in matrix.planes()],
            "contradicting": [cell for cell in cells if cell.contradicted],
            "settings": gauntlet.to_yaml(),
            "id": directory.name,
            "name": gauntlet.name,
        },
    )


def _row(gauntlet: Gauntlet, cell: Cell) -> dict[str, Any]:
    """All that is known of a cell, and the command that runs it where options can say it."""
    command = run_command(gauntlet.trial(cell.row["cell"]))
    return {"cell": cell.row["cell"], **cell.document(), "command": command}


def _plane(matrix: Matrix, settings: str, schedule: str) -> dict[str, Any]:
    """A table of optimizers × problems."""
    problems = matrix.gauntlet.problems
    rows = {
        optimizer: [_shown(matrix.cells.get((optimizer, problem, schedule, settings)), problem) for problem in problems]
        for optimizer in matrix.gauntlet.optimizers
    }
    return {"name": f"{settings}-{schedule}", "title": PLANES[settings, schedule], "rows": rows}


def _shown(cell: Cell | None, problem: str) -> dict[str, Any] | None:
    """What a cell of the table says; None where it is not done."""
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
