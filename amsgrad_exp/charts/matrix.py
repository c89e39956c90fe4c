"""A gauntlet's matrix: a letter and a colour for each cell, a panel for each choice of settings and each schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from amsgrad_exp.charts.draw import write
from amsgrad_exp.charts.marks import MARKS, mark, plane_title
from amsgrad_exp.charts.plot import Specification, inline_data
from amsgrad_exp.charts.style import FONT_OF_FILES, configuration
from amsgrad_exp.sweeps.matrix import Matrix
from amsgrad_exp.verdict import Evidence

CELL = 20  # pixels
ENTRY, SWATCH = 20, (26, 12)  # of the legend: the height of an entry, the size of its sample
WIDEST = 560  # pixels of the longest entry of the legend
INK = "#000000"
LOOK = configuration(INK, FONT_OF_FILES, 12, background="#ffffff", padding=8, axisY={}, aria=False)
LOOK["axis"] |= {"labelLimit": 0, "labelOverlap": False}
FRAMES = {"a published claim covers the cell": 1.2, "and the cell contradicts it": 4.0}
UNDERLINE = {"size": 8, "thickness": 1.4, "yOffset": 6}
UNDERLINED = "underlined: proved, the limit is exact"


def draw_matrix(path: Path, matrix: Matrix) -> list[Path]:
    """Draw optimizers × problems, with what is claimed of each and what is proved.

    Args:
        path: without a suffix; ``.png`` and ``.svg`` are added.
        matrix: of a gauntlet.

    Returns:
        The files written.

    Raises:
        OSError: they cannot be written.
    """
    schedules = len(matrix.data("schedules"))
    panels = [_panel(matrix, number, *plane) for number, plane in enumerate(matrix.planes())]
    width = len(matrix.gauntlet.problems) * CELL * schedules
    shown = {"concat": panels, "columns": schedules, "spacing": {"row": 12, "column": 24}}
    return write(
        path,
        {
            "title": {"text": matrix.gauntlet.extent, "fontSize": 12},
            "vconcat": [shown, _legend(2 if width > WIDEST else 1)],
            "spacing": 16,
            "config": LOOK
            | {"axis": LOOK["axis"] | {"labelLimit": 0, "labelOverlap": False}, "axisY": {}, "aria": False},
        },
    )


def _panel(matrix: Matrix, number: int, settings: str, schedule: str) -> Specification:
    """Names of optimizers stand on the left of the first column alone, those of problems below the last row."""
    problems, optimizers = list(matrix.gauntlet.problems), list(matrix.gauntlet.optimizers)
    rows, columns = len(matrix.data("settings")), len(matrix.data("schedules"))
    row, column = divmod(number, columns)

    def axis(field: str, names: list[str], *, named: bool, angle: int) -> Specification:
        look = {"title": None, "domain": False, "ticks": False, "grid": False, "labels": named, "labelAngle": angle}
        return {"field": field, "type": "nominal", "scale": {"domain": names, "padding": 0}, "axis": look}

    return {
        "title": plane_title(settings, schedule),
        "width": len(problems) * CELL,
        "height": len(optimizers) * CELL,
        "data": inline_data(list(_cells(matrix, settings, schedule))),
        "encoding": {
            "x": axis("problem", problems, named=row == rows - 1, angle=-90),
            "y": axis("optimizer", optimizers, named=column == 0, angle=0),
        },
        "layer": [
            {
                "mark": {"type": "rect", "stroke": "white", "strokeWidth": 1},
                "encoding": {"color": {"field": "colour", "type": "nominal", "scale": None}},
            },
            *(
                {
                    "transform": [{"filter": f"datum.frame == {width}"}],
                    "mark": _frame(width) | {"width": {"band": 0.84}, "height": {"band": 0.84}},
                }
                for width in FRAMES.values()
            ),
            {
                "transform": [{"filter": "datum.proved"}],
                "mark": {
                    "type": "tick",
                    "orient": "horizontal",
                    "color": INK,
                    "size": 8,
                    "thickness": 1.4,
                    "yOffset": 6,
                },
            },
            *(
                {
                    "transform": [{"filter": f"{'' if bold else '!'}datum.contradicted"}],
                    "mark": {"type": "text", "fontWeight": "bold" if bold else "normal", "color": INK},
                    "encoding": {"text": {"field": "letter"}},
                }
                for bold in (False, True)
            ),
        ],
    }


def _frame(width: float) -> Specification:
    return {"type": "rect", "filled": False, "stroke": INK, "strokeWidth": width}


def _cells(matrix: Matrix, settings: str, schedule: str) -> Iterator[Mapping[str, Any]]:
    covered, contradicted = FRAMES.values()
    for (optimizer, problem, *plane), cell in matrix.cells.items():
        if plane == [schedule, settings]:
            known = mark(cell.row)
            yield {
                "optimizer": optimizer,
                "problem": problem,
                "letter": known.letter,
                "colour": known.colour,
                "frame": contradicted if cell.contradicted else covered if cell.covered else 0,
                "contradicted": cell.contradicted,
                "proved": cell.row["evidence"] == Evidence.PROOF,
            }


def _legend(columns: int) -> Specification:
    """What letters, colours, frames and lines mean."""
    entries: list[tuple[str, Specification]] = [
        (f"{known.letter}   {known.words}", {"type": "rect", "color": known.colour}) for known in MARKS
    ]
    entries += [(words, _frame(width)) for words, width in FRAMES.items()]
    entries.append((UNDERLINED, {"type": "rect", "color": INK, "height": 1.4}))
    rows = -(-len(entries) // columns)
    wide, high = SWATCH
    layers = []
    for number, (words, sample) in enumerate(entries):
        column, row = divmod(number, rows)
        left, middle = column * WIDEST, {"value": (row + 0.5) * ENTRY}
        centre = {"x": {"value": left + wide / 2}, "y": middle}
        text = {"type": "text", "align": "left", "baseline": "middle", "text": words}
        layers += [
            {"mark": {"width": wide, "height": high, **sample}, "encoding": centre},
            {"mark": text, "encoding": {"x": {"value": left + wide + 8}, "y": middle}},
        ]
    return {"data": inline_data([{}]), "width": 1, "height": rows * ENTRY, "layer": layers}
