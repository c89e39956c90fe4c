"""Prints the tables of a sweep or a gauntlet, and draws its figure."""

from __future__ import annotations

import itertools
from pathlib import Path

from rich.table import Table
from rich.text import Text

from amsgrad_exp.charts.draw import draw as draw_files
from amsgrad_exp.charts.letters import MARKS, PROVED, draw_matrix, mark, plane_title
from amsgrad_exp.charts.panels import as_csv
from amsgrad_exp.charts.planes import TABLE, plots, shown_of
from amsgrad_exp.output import words
from amsgrad_exp.output.console import columns, out
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.spec.sweep import Sweep
from amsgrad_exp.sweeps.against_theory import Cell, Matrix, verdicts
from amsgrad_exp.sweeps.store import Results
from amsgrad_exp.sweeps.sweeping import Swept, Verification

NAMES = {1: "profile", 2: "phase"}  # of the figures, by the number of axes
ROWS_SHOWN = 100
LETTERS = "abcdefghijklmnopqrstuvwxyz"
UNDERLINE = "\N{COMBINING LOW LINE}"


def draw(swept: Swept) -> list[Path]:
    """Draw where the cells settle as PNG and SVG in the sweep's directory, and return the files.

    There are none if all cells failed or the sweep has more than two axes.
    """
    with swept.results() as results:
        if isinstance(swept.sweep, Gauntlet):
            return draw_matrix(swept.directory / "gauntlet", verdicts(swept.sweep, results))
        rows = {row["cell"]: row for row in results.rows()}
    if not isinstance(swept.sweep, Sweep) or all(row["mean_x"] is None for row in rows.values()):
        return []
    shown = shown_of(swept.sweep)
    names = ("cell", "optimizer", *swept.sweep.axes, "mean_x", "regret")
    table = as_csv(names, ([rows[cell][name] for name in names] for cell in shown.ravel().tolist() if cell in rows))
    return [
        file
        for plot in plots(swept.sweep, shown, rows)
        for file in draw_files(swept.directory / NAMES[len(swept.sweep.axes)], plot, {TABLE: table})
    ]


def show(swept: Swept, results: Results) -> None:
    """Print where the cells settle."""
    if isinstance(swept.sweep, Gauntlet):
        _show_matrix(verdicts(swept.sweep, results))
    elif isinstance(swept.sweep, Sweep):
        _show_counts(swept.sweep, results)


def _show_counts(sweep: Sweep, results: Results) -> None:
    """Print how many cells of each optimizer settle where, and the cells if there are more than two axes."""
    titles, counts = words.counted(results.counts())
    table = columns("optimizer")
    for title in titles:
        table.add_column(title, justify="right")
    for optimizer, numbers in counts.items():
        table.add_row(optimizer, *(f"{number:,}" for number in numbers))
    shape = " × ".join(f"{name} ({len(values)})" for name, values in sweep.axes.items())
    out.print(f"{shape}, {len(sweep):,} cells")
    out.print(table)
    if len(sweep.axes) <= 2:
        return
    shown = ("optimizer", *sweep.axes, "mean_x", "iterate", "regret", "regret_trend")
    cells = columns(*shown)
    for row in itertools.islice(results.rows(), ROWS_SHOWN):
        cells.add_row(*(f"{row[name]:.4g}" if isinstance(row[name], float) else str(row[name]) for name in shown))
    out.print()
    out.print(cells)
    if len(sweep) > ROWS_SHOWN:
        out.print(f"… and {len(sweep) - ROWS_SHOWN:,} more: --export csv writes all of them")


def _show_matrix(matrix: Matrix) -> None:
    """Print a gauntlet's extent, its tables, the meaning of the marks, and the cells that contradict a claim."""
    problems = matrix.gauntlet.problems
    out.print(matrix.gauntlet.extent)
    for settings, schedule in matrix.planes():
        out.print(Text(plane_title(settings, schedule), "bold"))
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("", no_wrap=True)
        for number in range(len(problems)):
            table.add_column(LETTERS[number % len(LETTERS)], no_wrap=True, min_width=2)
        for optimizer, cells in matrix.plane(settings, schedule).items():
            table.add_row(optimizer, *map(_written, cells))
        out.print(table)
        out.print()
    named = (f"{LETTERS[number % 26]}\N{NO-BREAK SPACE}{name}" for number, name in enumerate(problems))
    out.print(Text("  ".join(named)))
    for known in MARKS:
        out.print(Text.assemble((f"{known.letter}  ", known.style), known.words))
    out.print(f"X{UNDERLINE}  {PROVED}")
    out.print("*  a published claim of convergence covers the cell")
    out.print("!  the cell contradicts the claim: x is at the worst point and the regret does not vanish")
    contradicting = [cell for cell in matrix.cells.values() if cell.contradicted]
    for cell in contradicting:
        row, claim = cell.row, cell.claim
        refuted = f"; refuted: {claim.refuted}" if claim.refuted else ""
        out.print(
            f"! {row['optimizer']} on {row['problem']}, {row['schedule']}, {row['settings']}: "
            f"R(T)/T {row['regret']:.3g} contradicts {claim.theorem}{refuted}",
            soft_wrap=True,
        )
    if not contradicting:
        out.print("no cell contradicts a claim that covers it")


def _written(cell: Cell | None) -> Text:
    if cell is None:
        return Text("")
    known = mark(cell.row)
    letter = known.letter + (UNDERLINE if cell.proved else "") + cell.sign
    return Text(letter, f"bold reverse {known.style}" if cell.contradicted else known.style)


def verified(verification: Verification) -> str:
    """One line about a successful verification of a sweep."""
    checked = "every checksum is right" if verification.checksums else "rows of 0.1.0 have no checksums"
    again = f"{verification.recomputed:,} cells computed again have the same bits"
    return f"identical: {verification.rows:,} of {verification.cells:,} cells done, {checked}, {again}"
