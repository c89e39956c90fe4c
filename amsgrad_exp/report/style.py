"""How plots look on a page: they take the page's own colours, so that dark and light are the page's to choose."""

from __future__ import annotations

from typing import Any

from amsgrad_exp.output.figures.style import COLOURS

INK = "currentColor"
FONT = "system-ui, sans-serif"

# "currentColor" is the colour of the text around a plot, where black would be lost on a dark page.
LINE_COLOURS = [INK if colour == "#000000" else colour for colour in COLOURS]
LINE_DASHES = ([1, 0], [7, 3], [9, 3, 2, 3], [2, 2], [9, 3, 2, 3, 2, 3], [4, 1], [14, 4])

CONFIGURATION: dict[str, Any] = {
    "background": "transparent",
    "font": FONT,
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "domainColor": INK,
        "tickColor": INK,
        "gridColor": INK,
        "gridOpacity": 0.13,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelOverlap": "greedy",
    },
    "axisY": {"minExtent": 48, "maxExtent": 48},
    "title": {"color": INK, "anchor": "start", "fontSize": 13, "fontWeight": "normal", "offset": 8},
    "legend": {"labelColor": INK, "titleColor": INK, "titleFontWeight": "normal", "gradientLength": 180},
    "text": {"color": INK},
    "view": {"stroke": None},
}

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
LOG1M_LABELS = "format(1 - pow(10, -datum.value), '.12~g')"  # of an axis even in −log₁₀(1 − value)


def line_style(number: int) -> tuple[str, list[int]]:
    """Colour and dashes of a line, counted from 0; no two of the first 49 are alike."""
    kinds = len(LINE_COLOURS)
    return LINE_COLOURS[number % kinds], LINE_DASHES[(number + number // kinds) % kinds]
