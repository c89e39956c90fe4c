"""Draws a gauntlet as a table in which letters and colours stand for the results of the cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amsgrad_exp.charts.draw import legend, write
from amsgrad_exp.charts.panels import Line, Specification
from amsgrad_exp.charts.style import FONT_OF_FILES, configuration
from amsgrad_exp.sweeps.against_theory import Matrix
from amsgrad_exp.verdict import Trend, Verdict


@dataclass(frozen=True)
class Mark:
    """The mark of a result: its letter, its meaning, its style in a terminal, and its colour in a figure.

    The colours are those of Okabe and Ito's palette, some of them lighter.
    """

    letter: str
    words: str
    style: str
    colour: str


CONVERGES = Mark("O", "the iterates settle at the optimum, and the average regret vanishes", "green", "#009E73")
CIRCLES = Mark("o", "the iterates settle at the optimum, the average regret does not vanish (yet)", "cyan", "#56B4E9")
BETWEEN = Mark("-", "the iterates are between optimum and worst point, or still on their way", "yellow", "#F0E442")
FAILS = Mark("X", "the iterates settle at the worst point, or move away", "red", "#D55E00")
FAILED = Mark("?", "the run failed, for example because x overflows", "magenta", "#BBBBBB")
PROVED = "underlined: proved, because the run repeats itself, so its limit is exact"
MARKS = (CONVERGES, CIRCLES, BETWEEN, FAILS, FAILED)

SETTINGS = {"stated": "settings stated with the problem", "defaults": "the optimizer's default settings"}
STEP_SIZES = {"constant": "constant step size", "inv-sqrt": "step sizes α/√t", "inv": "step sizes α/t"}


def plane_title(settings: str, schedule: str) -> str:
    """Return the title of one of a gauntlet's tables."""
    return f"{SETTINGS[settings]}, {STEP_SIZES.get(schedule, f'schedule {schedule}')}"


def mark(row: Mapping[str, Any]) -> Mark:
    """Return the mark of a row, by its ``iterate`` and ``regret_trend``."""
    if row["failure"] is not None:
        return FAILED
    if row["iterate"] == Verdict.OPTIMUM:
        return CONVERGES if row["regret_trend"] == Trend.VANISHING else CIRCLES
    return FAILS if row["iterate"] in (Verdict.WORST, Verdict.AWAY) else BETWEEN


CELL = 20  # pixels
WIDEST = 560  # the width of the longest entry of the legend, in pixels
CHARACTER = 6.3  # the average width of a character, in pixels
INK = "#000000"
LOOK = configuration(INK, FONT_OF_FILES, 12, background="#ffffff", padding=8, axisY={}, aria=False)
LOOK["axis"] |= {"labelLimit": 0, "labelOverlap": False}
FRAMES = {"a published claim covers the cell": 1.2, "and the cell contradicts it": 4.0}


def draw_matrix(path: Path, matrix: Matrix) -> list[Path]:
    """Draw optimizers × problems as PNG and SVG, mark claims and proofs, and return the files."""
    schedules = len(matrix.gauntlet.axes["schedule"])
    panels = [_panel(matrix, number, *plane) for number, plane in enumerate(matrix.planes())]
    width = len(matrix.gauntlet.problems) * CELL * schedules
    entries: list[Line] = [
        (f"{known.letter}   {known.words}", {"type": "rect", "height": 12, "color": known.colour}) for known in MARKS
    ]
    entries += [(words, {"height": 12, **_frame(thick)}) for words, thick in FRAMES.items()]
    entries.append(("underlined: proved, the limit is exact", {"type": "rect", "color": INK, "height": 1.4}))
    shown = {"concat": panels, "columns": schedules, "spacing": {"row": 12, "column": 24}}
    return write(
        path,
        {
            "title": {"text": matrix.gauntlet.extent, "fontSize": 12},
            "vconcat": [shown, *legend(entries, max(width, WIDEST), character=CHARACTER)],
            "spacing": 16,
            "config": LOOK,
        },
    )


def _panel(matrix: Matrix, number: int, settings: str, schedule: str) -> Specification:
    """Make one table; only the first column of tables has optimizers' names, and only the last row problems' names."""
    problems, optimizers = list(matrix.gauntlet.problems), list(matrix.gauntlet.optimizers)
    rows, columns = len(matrix.gauntlet.axes["settings"]), len(matrix.gauntlet.axes["schedule"])
    row, column = divmod(number, columns)

    def axis(field: str, names: list[str], *, named: bool, angle: int) -> Specification:
        look = {"title": None, "domain": False, "ticks": False, "grid": False, "labels": named, "labelAngle": angle}
        return {"field": field, "type": "nominal", "scale": {"domain": names, "padding": 0}, "axis": look}

    frames = [
        {
            "transform": [{"filter": f"datum.frame == {width}"}],
            "mark": _frame(width) | {"width": {"band": 0.84}, "height": {"band": 0.84}},
        }
        for width in FRAMES.values()
    ]
    letters = [
        {
            "transform": [{"filter": f"{'' if bold else '!'}datum.contradicted"}],
            "mark": {"type": "text", "fontWeight": "bold" if bold else "normal", "color": INK},
            "encoding": {"text": {"field": "letter"}},
        }
        for bold in (False, True)
    ]
    underline = {"type": "tick", "orient": "horizontal", "color": INK, "size": 8, "thickness": 1.4, "yOffset": 6}
    return {
        "title": plane_title(settings, schedule),
        "width": len(problems) * CELL,
        "height": len(optimizers) * CELL,
        "data": {"values": list(_cells(matrix, settings, schedule))},
        "encoding": {
            "x": axis("problem", problems, named=row == rows - 1, angle=-90),
            "y": axis("optimizer", optimizers, named=column == 0, angle=0),
        },
        "layer": [
            {
                "mark": {"type": "rect", "stroke": "white", "strokeWidth": 1},
                "encoding": {"color": {"field": "colour", "type": "nominal", "scale": None}},
            },
            *frames,
            {"transform": [{"filter": "datum.proved"}], "mark": underline},
            *letters,
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
                "proved": cell.proved,
            }
