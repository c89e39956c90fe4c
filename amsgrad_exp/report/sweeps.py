"""Builds the page of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.charts.panels import as_csv
from amsgrad_exp.charts.planes import along, columns_of, plots, shown_of
from amsgrad_exp.report.cells import checked, missing
from amsgrad_exp.report.page import Page, short
from amsgrad_exp.spec.read import command
from amsgrad_exp.spec.sweep import Sweep
from amsgrad_exp.verdict import WORDS, Verdict

MOST_ROWS = 500  # of the table
OPTIONS = {"settings": "--{}=", "options": "--option {}=", "problem": "--set {}="}  # that set an axis's target


def page(directory: Path, sweep: Sweep) -> Page:
    """The page of a complete or unfinished sweep.

    Raises:
        Damaged, RunError: as in `cells.checked`.
    """
    with checked(directory, sweep) as results:
        columns, counts = results.columns, results.counts()
        rows = {row["cell"]: row for row in results.rows()}
    shown = shown_of(sweep)
    kept = [rows[cell] for cell in shown.ravel().tolist() if cell in rows]
    lines = missing(directory, sweep, len(rows))
    if len(kept) < len(rows):
        lines.append(f"This page shows {len(kept):,} of {len(rows):,} cells, evenly spaced along each axis.")
    return Page(
        template="sweep.html",
        title=short(f"{' and '.join(sweep.optimizers)} on {sweep.example.problem.name}", 120),
        lead=f"{_axes(sweep)}, {len(sweep):,} cells of {sweep.example.steps:,} steps",
        plots=plots(sweep, shown, rows),
        tables={"cells": as_csv(columns, (row.values() for row in kept))},
        content={
            "columns": list(columns_of(sweep)),
            "rows": [[row.get(name) for name in columns_of(sweep)] for row in kept] if len(kept) <= MOST_ROWS else [],
            "counts": _counted(counts),
            "missing": lines,
            "chooser": _chooser(sweep, shown),
            "settings": sweep.to_yaml(),
            "id": directory.name,
            "name": sweep.name,
        },
    )


def _axes(sweep: Sweep) -> str:
    return " × ".join(f"{name} ({len(values):,})" for name, values in sweep.axes.items())


def _counted(counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """How many cells settle where, by optimizer."""
    verdicts = [verdict for verdict in (*Verdict, "failed") if any(verdict in by for by in counts.values())]
    words = {verdict: WORDS[verdict][0] if isinstance(verdict, Verdict) else verdict for verdict in verdicts}
    rows = {optimizer: [by.get(verdict, 0) for verdict in verdicts] for optimizer, by in counts.items()}
    return {"verdicts": list(words.values()), "rows": rows}


def _chooser(sweep: Sweep, shown: NDArray[np.int64]) -> dict[str, Any]:
    """The choices that select a cell, and for each optimizer the beginning of the command that runs a cell."""
    commands = {
        optimizer: command({**sweep.data, "optimizers": [entry]})
        for optimizer, entry in zip(sweep.optimizers, sweep.data["optimizers"], strict=True)
    }
    options = {axis: OPTIONS[target.of].format(target.name) for axis, target in sweep.targets.items()}
    return {"optimizers": sweep.optimizers, "axes": along(sweep, shown), "commands": commands, "options": options}
