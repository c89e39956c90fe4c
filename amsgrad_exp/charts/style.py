"""Colours, dashes, fonts and axis labels of all charts, on a page and in files."""

from __future__ import annotations

import math
from typing import Any

# Okabe and Ito's colours, told apart by colour-blind readers, each with its own dashes for print.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ([1, 0], [7, 3], [9, 3, 2, 3], [2, 2], [9, 3, 2, 3, 2, 3], [4, 1], [14, 4])
SYMBOLS = {"lr": "step size α", "beta1": "β₁", "beta2": "β₂", "eps": "ε"}  # of an axis; others have their names

# On a page this is the colour of the text around a chart: black would be lost on a dark page. In a file it is black.
INK = "currentColor"
FAILED = "#8a8f98"  # a cell without a number, on a plane
GRID = 0.13  # the opacity of its lines
FONT = "system-ui, sans-serif"
FONT_OF_FILES = "Liberation Sans, Arial, Helvetica, sans-serif"  # vl-convert brings the first; the others are as wide


def configuration(ink: str, font: str, size: int, **more: Any) -> dict[str, Any]:
    """The look of a chart: its ink, font and size of font in pixels."""
    return {
        "font": font,
        "axis": {
            "labelColor": ink,
            "titleColor": ink,
            "domainColor": ink,
            "tickColor": ink,
            "gridColor": ink,
            "gridOpacity": GRID,
            "labelFontSize": size,
            "titleFontSize": size,
            "titleFontWeight": "normal",
            "labelOverlap": "greedy",
        },
        "axisY": {"minExtent": 48, "maxExtent": 48},
        "title": {
            "color": ink,
            "anchor": "start",
            "fontSize": size + 1,
            "fontWeight": "normal",
            "offset": 8,
            "frame": "group",
        },
        "legend": {
            "labelColor": ink,
            "titleColor": ink,
            "titleFontWeight": "normal",
            "labelFontSize": size - 1,
            "titleFontSize": size - 1,
            "gradientLength": 180,
        },
        "text": {"color": ink, "fontSize": size},
        "scale": {"invalid": {"color": {"value": FAILED}}},
        "line": {"strokeJoin": "round"},
        "view": {"stroke": None},
        **more,
    }


OF_PAGES = configuration(INK, FONT, 12, background="transparent")
OF_FILES = configuration("#000000", FONT_OF_FILES, 16, background="#ffffff", padding=6, axisY={"minExtent": 52})

# Powers of ten are labelled as 10⁵.
_DIGITS = "['⁰','¹','²','³','⁴','⁵','⁶','⁷','⁸','⁹']"
_POWER = "round(log(datum.value) / LN10)"
_RAISED = (
    f"({_POWER} < 0 ? '⁻' : '') + (abs({_POWER}) > 9 ? {_DIGITS}[floor(abs({_POWER}) / 10)] : '')"
    f" + {_DIGITS}[abs({_POWER}) % 10]"
)
DECADE = f"abs({_POWER} * LN10 - log(datum.value)) < 1e-9"
LOG_LABELS = (
    f"!({DECADE}) ? format(datum.value, '.3~g') : abs({_POWER}) < 3 ? format(datum.value, '~g') : '10' + {_RAISED}"
)

_DIGIT = "round(1e6 * datum.value / pow(10, floor(log(datum.value) / LN10 + 1e-9))) / 1e6"
SPARSE_LOG_LABELS = f"indexof([1, 2, 5], {_DIGIT}) < 0 ? '' : {LOG_LABELS}"  # of an axis of more than a decade

# An axis that is even in −log₁₀(1 − value) is labelled at 0.5, 0.9, 0.99 and so on, as far as it goes.
LOG1M_AXIS = {
    "values": [-math.log10(0.5), *range(1, 17)],
    "labelExpr": "format(1 - pow(10, -datum.value), '.12~g')",
}


def line_style(number: int) -> tuple[str, list[int]]:
    """Colour and dashes of a line, counted from 0; no two of the first 49 are alike."""
    kinds = len(COLOURS)
    colour = COLOURS[number % kinds]
    return INK if colour == "#000000" else colour, DASHES[(number + number // kinds) % kinds]
