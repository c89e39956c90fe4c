"""Builds the pages of sweeps and gauntlets."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.charts.letters import MARKS, PROVED, mark, plane_title
from amsgrad_exp.charts.panels import THIN, Axis, Panel, Plot, as_csv, curves
from amsgrad_exp.charts.planes import along, columns_of, plots, shown_of
from amsgrad_exp.errors import Damaged, RunError
from amsgrad_exp.output import words
from amsgrad_exp.records.files import in_use
from amsgrad_exp.report.page import Page, short
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.spec.read import command, run_command
from amsgrad_exp.spec.sweep import Plan, Sweep
from amsgrad_exp.sweeps.against_theory import verdicts
from amsgrad_exp.sweeps.store import BLOBS, POINTS, Points, Results, open_results
from amsgrad_exp.sweeps.sweeping import read_sweep

MOST_ROWS = 500  # of a sweep's table
OPTIONS = {"settings": "--{}=", "options": "--option {}=", "problem": "--set {}="}  # that set an axis's target


def page(directory: Path) -> Page:
    """The page of a sweep or a gauntlet, complete or unfinished; a RunError if it cannot be read or has no cell."""
    cells = read_sweep(directory)
    if isinstance(cells, Gauntlet):
        return _gauntlet_page(directory, cells)
    assert isinstance(cells, Sweep)
    return _sweep_page(directory, cells)


@contextlib.contextmanager
def _checked(directory: Path, cells: Plan) -> Iterator[Results]:
    """Open the results of a directory after checking every row and its points."""
    if not (directory / "results.sqlite").is_file():
        raise RunError(f"{directory} has no results.sqlite: none of its cells has been computed")
    with open_results(directory, cells) as results:
        if not len(results):
            raise RunError(f"none of the {len(cells):,} cells of {directory} has been computed")
        wrong = Counter(damaged for _, damaged in results.checked_rows())
        for what in ("row", "curve"):
            if wrong[what]:
                path = directory / "results.sqlite"
                raise Damaged(f"{path} is damaged: {wrong[what]:,} {what}s have a wrong checksum")
        yield results


def _missing(directory: Path, cells: Plan, done: int) -> list[str]:
    """If cells are missing, a sentence that says so and how to compute them."""
    if done == len(cells):
        return []
    rest = "the run is going on" if in_use(directory) else f"amsgrad-exp resume {directory.name} computes the others"
    return [f"{done:,} of {len(cells):,} cells are done: {rest}."]


def _sweep_page(directory: Path, sweep: Sweep) -> Page:
    with _checked(directory, sweep) as results:
        columns = results.columns
        results_said, counts = words.counted(results.counts())
        rows = {row["cell"]: row for row in results.rows()}
    shown = shown_of(sweep)
    kept = [rows[cell] for cell in shown.ravel().tolist() if cell in rows]
    lines = _missing(directory, sweep, len(rows))
    if len(kept) < len(rows):
        lines.append(f"This page shows {len(kept):,} of {len(rows):,} cells, evenly spaced along each axis.")
    axes = " × ".join(f"{name} ({len(values):,})" for name, values in sweep.axes.items())
    return Page(
        template="sweep.html",
        title=short(f"{' and '.join(sweep.optimizers)} on {sweep.example.problem.name}", 120),
        lead=f"{axes}, {len(sweep):,} cells of {sweep.example.steps:,} steps",
        plots=plots(sweep, shown, rows),
        tables={"cells": as_csv(columns, (row.values() for row in kept))},
        content={
            "columns": list(columns_of(sweep)),
            "rows": [[row.get(name) for name in columns_of(sweep)] for row in kept] if len(kept) <= MOST_ROWS else [],
            "counts": {"verdicts": results_said, "rows": counts},
            "missing": lines,
            "chooser": _chooser(sweep, shown),
            "settings": sweep.to_yaml(),
            "id": directory.name,
            "name": sweep.name,
        },
    )


def _chooser(sweep: Sweep, shown: NDArray[np.int64]) -> dict[str, Any]:
    """The choices that select a cell, and for each optimizer the beginning of the command that runs a cell."""
    commands = {
        optimizer: command({**sweep.data, "optimizers": [entry]})
        for optimizer, entry in zip(sweep.optimizers, sweep.data["optimizers"], strict=True)
    }
    options = {axis: OPTIONS[target.of].format(target.name) for axis, target in sweep.targets.items()}
    return {"optimizers": sweep.optimizers, "axes": along(sweep, shown), "commands": commands, "options": options}


def _gauntlet_page(directory: Path, gauntlet: Gauntlet) -> Page:
    with _checked(directory, gauntlet) as results:
        matrix = verdicts(gauntlet, results)
        cells = list(matrix.cells.values())
        points = {cell.row["cell"]: results.points(cell.row["cell"]) for cell in cells}
        notes = _missing(directory, gauntlet, len(cells))
        if not results.has_points:
            notes.append(
                "The points of the cells were not stored, so cells have no curve here: a cell's command records it."
            )
    problems = gauntlet.problems
    drawn = {cell: known for cell, known in points.items() if known}
    rows = [
        {"cell": cell.row["cell"], **cell.document(), "optimum": cell.trial.problem.optimum}
        | {"command": run_command(cell.trial)}
        for cell in cells
    ]
    return Page(
        template="gauntlet.html",
        title=" on ".join(
            f"{len(each)} {name}{'s'[: len(each) > 1]}"
            for name, each in (("optimizer", gauntlet.optimizers), ("problem", problems))
        ),
        lead=gauntlet.extent,
        plots=_plots(drawn) if drawn else (),
        tables={"cells": as_csv(list(rows[0]), (row.values() for row in rows))},
        content={
            "notes": notes,
            "marks": MARKS,
            "proved": PROVED,
            "problems": problems,
            "mark": mark,
            "planes": [
                {
                    "name": re.sub(r"\W+", "-", f"{settings}-{schedule}"),
                    "title": plane_title(settings, schedule),
                    "rows": matrix.plane(settings, schedule),
                }
                for settings, schedule in matrix.planes()
            ],
            "contradicting": [cell for cell in cells if cell.contradicted],
            "curves": _curves(drawn),
            "settings": gauntlet.to_yaml(),
            "id": directory.name,
            "name": gauntlet.name,
        },
    )


def _curves(points: Mapping[int, Points]) -> dict[str, Any]:
    """The points of all cells: the distinct arrays of steps, and for each cell its array's index, x and regret.

    Base64 is exact and shorter than decimal digits.
    """
    steps = list(dict.fromkeys(known["step"] for known in points.values()))
    return {
        "steps": [np.frombuffer(packed, BLOBS["step"]).tolist() for packed in steps],
        "cells": {
            cell: [steps.index(known["step"]), *(base64.b64encode(known[name]).decode() for name in ("x", "regret"))]
            for cell, known in points.items()
        },
    }


def _plots(points: Mapping[int, Points]) -> list[Plot]:
    """The figures from which the page picks one for the unfolded cell.

    The regret has a logarithmic axis or not, depending on its range, and a line for its exact limit or not.
    """
    steps = np.frombuffer(b"".join({known["step"] for known in points.values()}), BLOBS["step"]) + 1
    low, high = float(steps.min()), float(steps.max())
    axis = Axis("toNumber(datum.step) + 1", "step t", low if low < high else low / 10, high, log=True)
    drawn = []
    for log, limit in itertools.product((False, True), repeat=2):
        regret = Panel(
            "regret", "average regret R(t)/t", log=log, beside={"limit_regret": ("exact limit", THIN)} if limit else {}
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
