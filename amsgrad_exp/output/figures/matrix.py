"""A gauntlet on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from amsgrad_exp.output.figures.style import STYLE, save
from amsgrad_exp.output.marks import MARKS, mark, plane_title
from amsgrad_exp.verdict import Evidence

if TYPE_CHECKING:
    from amsgrad_exp.sweeps.matrix import Matrix

CELL = 0.2  # inches
MARGIN = 2.2  # for the names of optimizers, and of problems
TWO_COLUMNS = 9.0  # that the legend has room for


def draw_matrix(path: Path, matrix: Matrix) -> list[Path]:
    """A panel for each choice of settings and each schedule, optimizers × problems, a letter and a colour a cell.

    Args:
        path: without a suffix; ``.png`` and ``.svg`` are added.
        matrix: what a gauntlet came to.

    Returns:
        The files written.
    """
    rows, columns = len(matrix.gauntlet.optimizers), len(matrix.gauntlet.problems)
    height, width = (len(matrix.data(key)) for key in ("settings", "schedules"))
    size = MARGIN + width * (columns * CELL + 0.4), MARGIN + height * (rows * CELL + 0.5)
    with matplotlib.rc_context(STYLE | {"axes.grid": False, "font.size": 8}):
        figure = Figure(figsize=(max(size[0], 6.5), size[1]), layout="constrained")
        panels = figure.subplots(height, width, squeeze=False, sharex=True, sharey=True).flat
        for panel, (settings, schedule) in zip(panels, matrix.planes(), strict=True):
            _draw(panel, matrix, settings, schedule)
        figure.suptitle(matrix.gauntlet.extent, fontsize=8)
        legend: list[Artist] = [
            Patch(facecolor=known.colour, label=f"{known.letter}  {known.words}") for known in MARKS
        ]
        legend.append(Patch(facecolor="white", edgecolor="black", label="a published claim covers the cell"))
        legend.append(Patch(facecolor="white", edgecolor="black", linewidth=2.2, label="and the cell contradicts it"))
        legend.append(Line2D([], [], color="black", linewidth=0.8, label="underlined: proved, the limit is exact"))
        figure.legend(handles=legend, loc="outside lower center", ncols=2 if size[0] > TWO_COLUMNS else 1, fontsize=8)
        return save(figure, path)


def _draw(panel: Axes, matrix: Matrix, settings: str, schedule: str) -> None:
    """One panel."""
    optimizers, problems = matrix.gauntlet.optimizers, matrix.gauntlet.problems
    panel.set(xlim=(0, len(problems)), ylim=(len(optimizers), 0), aspect="equal")
    panel.set_title(plane_title(settings, schedule), fontsize=8, parse_math=False)
    panel.set_xticks([at + 0.5 for at in range(len(problems))], problems, rotation=90)
    panel.set_yticks([at + 0.5 for at in range(len(optimizers))], optimizers)
    panel.tick_params(length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)
    for down, optimizer in enumerate(optimizers):
        for across, problem in enumerate(problems):
            if (cell := matrix.cells.get((optimizer, problem, schedule, settings))) is None:
                continue
            known = mark(cell.row)
            panel.add_patch(Rectangle((across, down), 1, 1, facecolor=known.colour, edgecolor="white", linewidth=0.5))
            if cell.covered:
                frame = Rectangle((across + 0.08, down + 0.08), 0.84, 0.84, fill=False, edgecolor="black")
                frame.set_linewidth(2.2 if cell.contradicted else 0.6)
                panel.add_patch(frame)
            if cell.row["evidence"] == Evidence.PROOF:
                panel.hlines(down + 0.78, across + 0.32, across + 0.68, color="black", linewidth=0.8)
            weight = "bold" if cell.contradicted else "normal"
            panel.text(across + 0.5, down + 0.52, known.letter, ha="center", va="center", fontsize=7, weight=weight)
