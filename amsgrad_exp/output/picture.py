"""Prints the table and draws the figure of a sweep or a gauntlet."""

from __future__ import annotations

from pathlib import Path

from amsgrad_exp.charts.draw import draw as draw_files
from amsgrad_exp.charts.letters import draw_matrix
from amsgrad_exp.charts.panels import as_csv
from amsgrad_exp.charts.planes import TABLE, plots, shown_of
from amsgrad_exp.output import console, matrix
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.spec.sweep import Sweep
from amsgrad_exp.sweeps.matrix import verdicts
from amsgrad_exp.sweeps.store import Results
from amsgrad_exp.sweeps.sweeping import Swept

NAMES = {1: "profile", 2: "phase"}  # of the files, by the number of axes


def show(swept: Swept, results: Results) -> None:
    """Print where the cells settle."""
    if isinstance(swept.sweep, Gauntlet):
        matrix.show(verdicts(swept.sweep, results))
    elif isinstance(swept.sweep, Sweep):
        console.sweep_table(swept.sweep, results, results.counts())


def draw(swept: Swept) -> list[Path]:
    """Draw where the cells settle, as PNG and SVG in the directory.

    Returns:
        The files written: none if all cells failed or the sweep has more than two axes.

    Raises:
        RunError: the results cannot be read.
        OSError: the figure cannot be written.
    """
    with swept.results() as results:
        if isinstance(swept.sweep, Gauntlet):
            return draw_matrix(swept.directory / "gauntlet", verdicts(swept.sweep, results))
        rows = {row["cell"]: row for row in results.rows()}
    if not isinstance(swept.sweep, Sweep) or all(row["mean_x"] is None for row in rows.values()):
        return []
    shown = shown_of(swept.sweep)
    columns = ("cell", "optimizer", *swept.sweep.axes, "mean_x", "regret")
    kept = [[rows[cell][name] for name in columns] for cell in shown.ravel().tolist() if cell in rows]
    tables = {TABLE: as_csv(columns, kept)}
    return [
        file
        for plot in plots(swept.sweep, shown, rows)
        for file in draw_files(swept.directory / NAMES[len(swept.sweep.axes)], plot, tables)
    ]
