"""Defines the colours, fonts and axis labels of all charts, and the spacing of values along an axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Okabe and Ito's palette, which colour-blind readers can tell apart; each colour has its own dashes for print.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ([1, 0], [7, 3], [9, 3, 2, 3], [2, 2], [9, 3, 2, 3, 2, 3], [4, 1], [14, 4])
SYMBOLS = {"lr": "step size α", "beta1": "β₁", "beta2": "β₂", "eps": "ε"}  # titles of axes; other axes show their names

INK = "currentColor"  # on a page, the colour of the surrounding text, which may be light on dark; in files, black
FAILED = "#8a8f98"  # the colour of a cell of a plane that has no number
FONT_OF_FILES = "Liberation Sans, Arial, Helvetica, sans-serif"  # vl-convert contains the first; the others are as wide
MARGIN = 0.04  # the part of an axis that is left free at either end


def configuration(ink: str, font: str, size: int, **more: Any) -> dict[str, Any]:
    """Make a Vega-Lite configuration with this text colour, font, and font size in pixels."""
    return {
        "font": font,
        "axis": {
            "labelColor": ink,
            "titleColor": ink,
            "domainColor": ink,
            "tickColor": ink,
            "gridColor": ink,
            "gridOpacity": 0.13,
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


OF_PAGES = configuration(INK, "system-ui, sans-serif", 12, background="transparent")
OF_FILES = configuration("#000000", FONT_OF_FILES, 16, background="#ffffff", padding=6, axisY={"minExtent": 52})

# Vega expressions that label powers of ten as 10⁵.
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
SPARSE_LOG_LABELS = f"indexof([1, 2, 5], {_DIGIT}) < 0 ? '' : {LOG_LABELS}"  # for an axis longer than a decade

# An axis that is evenly spaced in −log₁₀(1 − value) is labelled at 0.5, 0.9, 0.99 and so on, as far as it goes.
LOG1M_AXIS = {
    "values": [-math.log10(0.5), *range(1, 17)],
    "labelExpr": "format(1 - pow(10, -datum.value), '.12~g')",
}


def line_style(number: int) -> tuple[str, list[int]]:
    """Return the colour and dashes of a line, counted from 0; the first 49 lines differ from each other."""
    kinds = len(COLOURS)
    colour = COLOURS[number % kinds]
    return INK if colour == "#000000" else colour, DASHES[(number + number // kinds) % kinds]


# The ways in which values of an axis can be evenly spaced: directly, in log(value) or in log(1 − value).
SPACINGS: dict[str, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]] = {
    "linear": (np.positive, np.positive),
    "log": (np.log10, lambda height: 10.0**height),
    "log1m": (lambda value: -np.log10(np.maximum(1 - value, 1e-300)), lambda height: 1 - 10.0**-height),
}


def spacing(values: Sequence[float]) -> str:
    """Return the key of `SPACINGS` by which ascending values are evenly spaced; "linear" if there is none."""
    numbers = np.asarray(values, float)
    if len(numbers) <= 2:
        return "linear"
    if np.all(numbers > 0) and _even(np.log(numbers)):
        return "log"
    if np.all(numbers < 1) and not _even(numbers) and _even(np.log(1 - numbers)):
        return "log1m"
    return "linear"


def _even(numbers: Floats) -> bool:
    gaps = np.diff(numbers)
    return bool(np.allclose(gaps, gaps[0], rtol=1e-6, atol=0))


def edges(values: Sequence[float]) -> Floats:
    """Return the borders of the cells of n ascending values, halfway between values as spaced; float64 (n + 1,)."""
    forward, inverse = SPACINGS[spacing(values)]
    at = forward(np.asarray(values, float))
    gaps = np.diff(at) if len(at) > 1 else np.array([0.1 * abs(at[0]) or 0.1])
    return inverse(np.concatenate([at[:1] - gaps[0] / 2, (at[1:] + at[:-1]) / 2, at[-1:] + gaps[-1] / 2]))


def extent(values: Floats, *, log: bool = False) -> tuple[float, float] | None:
    """Return the ends of an axis that shows the values with a margin; None if it can show none of them."""
    shown = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not len(shown):
        return None
    low, high = float(shown.min()), float(shown.max())
    if log:
        factor = (high / low) ** MARGIN if low < high else 2.0
        return low / factor, high * factor
    beyond = MARGIN * (high - low) or 1.0
    return low - beyond, high + beyond


def far_apart(values: Floats) -> bool:
    """Whether a logarithmic axis suits the values: all are positive, and the largest is over 10 times the smallest."""
    finite = values[np.isfinite(values)]
    return bool(len(finite) and finite.min() > 0 and finite.max() > 10 * finite.min())


def regret_extent(values: Floats, *, log: bool) -> tuple[float, float] | None:
    """Return the `extent` of regrets; a linear axis includes 0, and begins there if no regret is negative."""
    ends = extent(values if log else np.append(values, 0.0), log=log)
    return (0.0, ends[1]) if ends and not log and not np.any(values[np.isfinite(values)] < 0) else ends
