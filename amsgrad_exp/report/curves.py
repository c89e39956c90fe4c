"""Lines in panels side by side, over time or along a setting, that are zoomed and hidden together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.report.page import Plot
from amsgrad_exp.report.style import CONFIGURATION, DECADE, INK, LOG_LABELS, line_style

# A drag moves, and the wheel with Ctrl, which is a pinch on a touchpad, zooms; the wheel alone, and a finger, scroll.
PAN = "[pointerdown[event.pointerType === 'mouse'], window:pointerup] > window:pointermove!"
WHEEL = "wheel![event.ctrlKey || event.metaKey]"
BESIDE = ([6, 3], [6, 2, 1, 2])  # dashes of what is drawn beside a line
LINES = "lines_"  # how the names of the layers that are zoomed begin
MARGIN = 0.04  # of an axis, on either side of what is drawn
FEW = 60  # points, of which each is drawn


@dataclass(frozen=True)
class Axis:
    """What panels have in common.

    Attributes:
        value: of the horizontal axis, a Vega expression of ``datum``.
        title: of the axis.
        low, high: its ends, in terms of ``value``.
        log: whether it is logarithmic.
        labels: a Vega expression of an axis label, where it is not the value itself.
    """

    value: str
    title: str
    low: float
    high: float
    log: bool
    labels: str | None = None


@dataclass(frozen=True)
class Level:
    """A horizontal line.

    Attributes:
        at: the value that it marks.
        says: what it is.
        curve: the number, from 1 on, of the line whose it is; 0 where it is of none.
    """

    at: float
    says: str
    curve: int = 0


@dataclass(frozen=True)
class Panel:
    """One quantity against the axis that all share.

    Attributes:
        column: of the table.
        title: above the panel.
        labels: a Vega expression of an axis label; None for those of a linear axis, else the axis is logarithmic, and
            what is not positive is not drawn.
        ends: of its axis; None where they follow the data, of which there must always be some.
        levels: horizontal lines.
        halfwidths: the column of the halfwidths of a band about each line; None without one.
        beside: further columns, drawn thin beside each line, with what they are called.
    """

    column: str
    title: str
    labels: str | None = None
    ends: tuple[float, float] | None = None
    levels: Sequence[Level] = ()
    halfwidths: str | None = None
    beside: Mapping[str, str] = field(default_factory=dict)


def extent(values: NDArray[np.float64], *, log: bool = False) -> tuple[float, float] | None:
    """The ends of an axis that shows values with a margin; None where none can be shown."""
    shown = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not len(shown):
        return None
    low, high = float(shown.min()), float(shown.max())
    if log:
        factor = (high / low) ** MARGIN if low < high else 2.0
        return low / factor, high * factor
    margin = MARGIN * (high - low) or 1.0
    return low - margin, high + margin


def curves(
    name: str,
    labels: Sequence[str],
    axis: Axis,
    panels: Sequence[Panel],
    *,
    title: str,
    alternative: str,
    tooltip: Sequence[tuple[str, str]],
    points: int,
    curve: str = "toNumber(datum.curve)",
) -> Plot:
    """A figure of the table of this name.

    Args:
        name: as of `Plot`.
        labels: of the lines; a single one is not to be hidden.
        axis: of all panels.
        panels: from left to right.
        title, alternative: as of `Plot`.
        tooltip: what a point says of itself: columns, and what they are called.
        points: at most so many on a line.
        curve: a Vega expression for which line a row is of, from 1 on; ``labels`` is known to it.
    """
    numbers = list(range(1, len(labels) + 1))
    styles = [line_style(number - 1) for number in numbers]
    base = _lines(name, axis, panels, curve, len(labels)).encode(x=_horizontal(axis))
    colours = alt.Color("curve:O", legend=None).scale(domain=numbers, range=[colour for colour, _ in styles])
    dashes = alt.StrokeDash("curve:O", legend=None).scale(domain=numbers, range=[dash for _, dash in styles])
    said = [alt.Tooltip("line:N")] if len(labels) > 1 else []
    said += [alt.Tooltip(f"{column}:N", title=words) for column, words in tooltip]
    drawn = [_panel(base, panel, (colours, dashes), said, points) for panel in panels]
    chart = alt.concat(*drawn, columns=len(panels)).add_params(*_controls(name, labels, axis))
    specification = {**chart.to_dict(), "config": CONFIGURATION}
    specification["params"].append(_zoom(specification).to_dict())  # Altair's own way warns that the panels share it
    legend = [
        {"number": str(number), "label": label, "colour": colour, "dashes": " ".join(map(str, dashes))}
        for number, label, (colour, dashes) in zip(numbers, labels, styles, strict=True)
    ]
    return Plot(name, title, specification, alternative, len(panels), legend if len(labels) > 1 else (), zoomed=True)


def _lines(name: str, axis: Axis, panels: Sequence[Panel], curve: str, count: int) -> alt.Chart:
    """The table's rows of lines that are not hidden."""
    columns = [(panel.column, panel.halfwidths, *panel.beside) for panel in panels]
    numeric = {column for panel in columns for column in panel if column}
    data = alt.NamedData(name, format=alt.CsvDataFormat(type="csv", parse=dict.fromkeys(sorted(numeric), "number")))
    shown = ", ".join(f"show_{number}" for number in range(1, count + 1))
    return (
        alt.Chart(data)
        .transform_calculate(at=axis.value, curve=curve)
        .transform_calculate(line="labels[datum.curve - 1]")
        .transform_filter(f"[{shown}][datum.curve - 1]")
    )


def _controls(name: str, labels: Sequence[str], axis: Axis) -> list[alt.Parameter]:
    """A box for each of several lines and a slider for each end of the axis, where the page's template has room."""
    low, high = _slid(axis)
    words = f"log₁₀ {axis.title}" if axis.log else axis.title
    slider: dict[str, Any] = {"min": low, "max": high, "step": (high - low) / 200, "element": f"#{name}-zoom"}

    def box(number: int, label: str) -> Any:
        return alt.binding_checkbox(name=label, element=f"#{name}-{number}") if len(labels) > 1 else alt.Undefined

    return [
        alt.param("labels", value=list(labels)),
        alt.param("log_axis", value=axis.log),
        *(
            alt.param(f"show_{number}", value=True, bind=box(number, label))
            for number, label in enumerate(labels, start=1)
        ),
        alt.param("zoom_low", value=low, bind=alt.binding_range(name=f"{words} from", **slider)),
        alt.param("zoom_high", value=high, bind=alt.binding_range(name=f"{words} to", **slider)),
    ]


def _zoom(specification: Mapping[str, Any]) -> alt.TopLevelSelectionParameter:
    """One horizontal scale for all panels: what is dragged or zoomed in one moves in the others."""
    select = alt.IntervalSelectionConfig(type="interval", encodings=["x"], translate=PAN, zoom=WHEEL)
    layers = [layer.get("name", "") for panel in specification["concat"] for layer in panel["layer"]]
    views = [name for name in layers if name.startswith(LINES)]  # as Altair calls them: it has added a number to each
    return alt.TopLevelSelectionParameter(name="zoom", select=select, bind="scales", views=views)


def _ends(axis: Axis) -> list[alt.ExprRef]:
    """The ends of the axis by its sliders, which may be set to where they have crossed."""
    low, high = _slid(axis)
    least = (high - low) / 50
    low_end, high_end = f"min(zoom_low, zoom_high - {least})", f"max(zoom_high, {low + least})"
    return [alt.ExprRef(f"pow(10, {end})" if axis.log else end) for end in (low_end, high_end)]


def _slid(axis: Axis) -> tuple[float, float]:
    """Between what the sliders slide; they say their values in all digits."""
    if not axis.log:
        return axis.low, axis.high
    return math.floor(100 * math.log10(axis.low)) / 100, math.ceil(100 * math.log10(axis.high)) / 100


def _horizontal(axis: Axis) -> alt.X:
    """The shared axis; a logarithmic one has its ticks at 1, 2 and 5, and labels at these where it is zoomed in."""
    shown: dict[str, Any] = {"title": axis.title, "tickCount": 8}
    if axis.labels:
        shown["labelExpr"] = axis.labels
    if axis.log:
        decades = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
        shown |= {"tickCount": alt.Undefined, "labelOverlap": False}
        shown["values"] = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
        shown["labelExpr"] = f"{DECADE} || zoom_high - zoom_low < 1.5 ? ({LOG_LABELS}) : ''"
    scale = alt.Scale(type="log" if axis.log else "linear", domain=_ends(axis), nice=False)
    return alt.X("at:Q", scale=scale, axis=alt.Axis(**shown))


def _panel(
    base: alt.Chart, panel: Panel, looks: tuple[alt.Color, alt.StrokeDash], tooltip: Sequence[alt.Tooltip], points: int
) -> alt.LayerChart:
    """Bands, levels and lines, and over them the points that say what they are."""
    kind: dict[str, Any] = {"type": "log", "nice": False} if panel.labels else {"zero": False, "padding": 8}
    if panel.ends:
        kind = {"type": kind.get("type", alt.Undefined), "nice": False, "domain": list(panel.ends)}
    scale = alt.Scale(**kind)
    axis = alt.Axis(title=None, tickCount=6, labelExpr=panel.labels or alt.Undefined)
    colours, dashes = looks
    lines = base.encode(color=colours, y=alt.Y(f"{panel.column}:Q", scale=scale, axis=axis))
    if panel.labels:
        lines = lines.transform_filter(f"datum[{panel.column!r}] > 0")
    layers: list[alt.Chart] = []
    if panel.halfwidths:
        value, half = (f"datum[{column!r}]" for column in (panel.column, panel.halfwidths))
        below = f"{value} - {half}"
        if panel.labels and panel.ends:
            below = f"max({below}, {panel.ends[0]})"
        band = lines.transform_calculate(band_low=below, band_high=f"{value} + {half}")
        layers.append(
            band.mark_area(opacity=0.2, aria=False, clip=True).encode(
                y=alt.Y("band_low:Q", scale=scale, axis=axis), y2="band_high:Q"
            )
        )
    layers += [_level(colours, level, scale, axis) for level in panel.levels]
    for column, dash in zip(panel.beside, BESIDE, strict=False):
        thin = lines.transform_filter(f"isValid(datum[{column!r}])").mark_line(
            strokeWidth=1, strokeDash=dash, clip=True
        )
        layers.append(thin.encode(y=alt.Y(f"{column}:Q", scale=scale, axis=axis)))
    layers.append(
        lines.mark_line(strokeWidth=2, clip=True).encode(strokeDash=dashes).properties(name=f"{LINES}{panel.column}")
    )
    dots = lines.mark_point(filled=True, size=45, opacity=1 if points <= FEW else 0, aria=False, clip=True)
    layers.append(dots.encode(tooltip=list(tooltip)))
    return alt.LayerChart(layer=layers, title=panel.title, height=280)


def _level(colours: alt.Color, level: Level, scale: alt.Scale, axis: alt.Axis) -> alt.Chart:
    """One horizontal line, in the colour of its curve and hidden with it."""
    data = alt.InlineData(values=[{"level": level.at, "says": level.says, "curve": level.curve}])
    chart = alt.Chart(data).mark_rule(strokeWidth=1.5, strokeDash=[1, 3], clip=True)
    chart = chart.encode(
        y=alt.Y("level:Q", scale=scale, axis=axis), tooltip=["says:N", alt.Tooltip("level:N", title="at")]
    )
    if level.curve:
        chart = chart.transform_filter(f"show_{level.curve}")
    drawn: alt.Chart = chart.encode(color=colours if level.curve else alt.value(INK))
    return drawn
