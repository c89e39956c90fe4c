"""Prints a gauntlet's matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from amsgrad_exp.charts.letters import MARKS, PROVED, mark, plane_title
from amsgrad_exp.output.console import out
from amsgrad_exp.verdict import Evidence

if TYPE_CHECKING:
    from amsgrad_exp.sweeps.matrix import Cell, Matrix

LETTERS = "abcdefghijklmnopqrstuvwxyz"
COVERED, CONTRADICTED = "*", "!"
UNDERLINE = "\N{COMBINING LOW LINE}"


def show(matrix: Matrix) -> None:
    """Print the gauntlet's extent, its tables, the meaning of the marks, and the cells that contradict a claim."""
    problems = matrix.gauntlet.problems
    out.print(matrix.gauntlet.extent)
    for settings, schedule in matrix.planes():
        out.print(Text(plane_title(settings, schedule), "bold"))
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("", no_wrap=True)
        for number in range(len(problems)):
            table.add_column(LETTERS[number % len(LETTERS)], no_wrap=True, min_width=2)
        for optimizer in matrix.gauntlet.optimizers:
            cells = [matrix.cells.get((optimizer, problem, schedule, settings)) for problem in problems]
            table.add_row(optimizer, *map(_written, cells))
        out.print(table)
        out.print()
    out.print(
        Text("  ".join(f"{LETTERS[number % 26]}\N{NO-BREAK SPACE}{name}" for number, name in enumerate(problems)))
    )
    for known in MARKS:
        out.print(Text.assemble((f"{known.letter}  ", known.style), known.words))
    out.print(f"X{UNDERLINE}  {PROVED}")
    out.print(f"{COVERED}  a published claim of convergence covers the cell")
    out.print(f"{CONTRADICTED}  the cell contradicts the claim: x is at the worst point and the regret does not vanish")
    _contradictions(matrix)


def _written(cell: Cell | None) -> Text:
    if cell is None:
        return Text("")
    known = mark(cell.row)
    sign = CONTRADICTED if cell.contradicted else COVERED if cell.covered else ""
    proved = UNDERLINE if cell.row["evidence"] == Evidence.PROOF else ""
    return Text(known.letter + proved + sign, f"bold reverse {known.style}" if cell.contradicted else known.style)


def _contradictions(matrix: Matrix) -> None:
    """Print a line for each cell that contradicts a claim."""
    contradicting = [cell for cell in matrix.cells.values() if cell.contradicted]
    for cell in contradicting:
        row, claim = cell.row, cell.claim
        refuted = f"; refuted: {claim.refuted}" if claim.refuted else ""
        out.print(
            f"{CONTRADICTED} {row['optimizer']} on {row['problem']}, {row['schedule']}, {row['settings']}: "
            f"R(T)/T {row['regret']:.3g}, against {claim.theorem}{refuted}",
            soft_wrap=True,
        )
    if not contradicting:
        out.print("no cell contradicts a claim that covers it")
