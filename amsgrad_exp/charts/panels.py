"""Describes, as Vega-Lite, charts of lines in panels side by side, which a page zooms and hides together."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from amsgrad_exp.charts.style import DECADE, INK, LOG_LABELS, OF_PAGES, SPARSE_LOG_LABELS, line_style

Specification = dict[str, Any]
Line = tuple[str, Mapping[str, Any]]  # the meaning of a line, and the properties of its Vega-Lite mark

# Dragging pans. The wheel with Ctrl, or a pinch on a touchpad, zooms. The wheel alone, or a finger, scrolls the page.
PAN = "[pointerdown[event.pointerType === 'mouse'], window:pointerup] > window:pointermove!"
WHEEL = "wheel![event.ctrlKey || event.metaKey]"
LINES = "lines_"  # the prefix of the names of layers of lines, which are zoomed
SEEN = "seen_"  # the prefix of the names of layers of points, which show their numbers when pointed at
FEW = 60  # if a line has at most this many points, each point is drawn

# The styles of further lines of a run. A bound is pale and broad, so that it is visible behind an almost equal regret.
THIN = {"strokeWidth": 1, "strokeDash": [6, 3]}
BROAD = {"strokeWidth": 5, "opacity": 0.35}
DOTTED = {"strokeWidth": 1.5, "strokeDash": [1, 3]}


@dataclass(frozen=True)
class Plot:
    """A chart without its data, which are stored in separate tables."""

    name: str  # a word that is unique on a page; also the name of the table with its main data
    title: str  # the heading on a page
    specification: Mapping[str, Any]  # Vega-Lite; its data sets are named after the tables
    alternative: str  # what the chart shows, in words
    columns: int  # how many panels stand side by side if there is room
    legend: Sequence[Line] = ()  # the lines, which a page hides and shows
    key: Sequence[Line] = ()  # the other kinds of marks, explained in files only
    zoomed: bool = False  # whether a page has sliders that zoom it


def as_csv(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Write a header and rows as CSV, with enough digits to restore every bit of a number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def named_data(name: str, numeric: Iterable[str]) -> Specification:
    """Refer to the table of this name as data; ``numeric`` are its columns of numbers."""
    return {"name": name, "format": {"type": "csv", "parse": dict.fromkeys(sorted(numeric), "number")}}


@dataclass(frozen=True)
class Axis:
    """The horizontal axis of all panels."""

    value: str  # the coordinate, a Vega expression of ``datum``
    title: str
    low: float  # the ends, as coordinates
    high: float
    log: bool
    shown: Mapping[str, Any] = field(default_factory=dict)  # further properties of the Vega-Lite axis

    @property
    def slider(self) -> tuple[float, float]:
        """The ends of a page's sliders: logarithms if the axis is logarithmic, rounded outward to few digits."""
        if not self.log:
            return self.low, self.high
        return math.floor(100 * math.log10(self.low)) / 100, math.ceil(100 * math.log10(self.high)) / 100

    def encoding(self) -> Specification:
        """Encode the channel x; a logarithmic axis has ticks at 1, 2 and 5, with labels when it is zoomed in."""
        low, high = self.slider
        least = (high - low) / 50  # the sliders may have crossed
        ends = [f"min(zoom_low, zoom_high - {least})", f"max(zoom_high, {low + least})"]
        scale = {"type": "linear", "domain": [{"expr": end} for end in ends], "nice": False}
        shown: dict[str, Any] = {"title": self.title, "tickCount": 8, **self.shown}
        if self.log:
            scale |= {"type": "log", "domain": [{"expr": f"pow(10, {end})"} for end in ends]}
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            labelled = f"{DECADE} || zoom_high - zoom_low < 1.5"
            shown = {
                "title": self.title,
                "labelOverlap": False,
                "values": [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)],
                "labelExpr": f"{labelled} ? ({LOG_LABELS}) : ''",
                "gridOpacity": _grid(labelled),
            }
        return {"field": "at", "type": "quantitative", "scale": scale, "axis": shown}


@dataclass(frozen=True)
class Level:
    """A horizontal line."""

    at: float
    says: str  # the meaning of the line, shown when it is pointed at
    curve: int = 0  # the number, from 1 on, of the curve it belongs to; 0 for none
    label: str = ""  # the text beside it
    below: bool = False  # whether the label is below the line instead of above
    right: bool = False  # whether the label is at the right instead of at the left


@dataclass(frozen=True)
class Panel:
    """One quantity against the shared axis."""

    column: str  # the column of the table; "" if the panel has only the lines of ``beside``
    title: str
    ends: tuple[float, float] | None = None  # of the vertical axis; None if they follow the data
    log: bool = False  # whether the axis is logarithmic, so that values that are not positive are left out
    levels: Sequence[Level] = ()
    halfwidths: str | None = None  # the column with the halfwidths of a band around each curve
    beside: Mapping[str, Line] = field(default_factory=dict)  # columns drawn as lines in the colours of their curves

    def vertical(self, column: str) -> Specification:
        """Encode the channel y of a column; a logarithmic axis of several decades is labelled at powers of ten."""
        scale: Specification = {"zero": False, "padding": 8}
        if self.ends or self.log:
            scale = {"type": "log" if self.log else "linear", "nice": False}
        if self.ends:
            scale["domain"] = list(self.ends)
        axis: Specification = {"title": None, "tickCount": 6}
        if self.log:
            decades = math.log10(self.ends[1] / self.ends[0]) if self.ends else 2.0
            labels = LOG_LABELS if decades < 1 else SPARSE_LOG_LABELS
            axis["labelExpr"] = labels if decades < 3 else f"{DECADE} ? {LOG_LABELS} : ''"
            axis["gridOpacity"] = _grid(DECADE if decades >= 1 else "true")
        return {"field": column, "type": "quantitative", "scale": scale, "axis": axis}


def _grid(shown: str) -> Specification:
    """Return the opacity of grid lines that are visible where this Vega expression of a tick is true."""
    return {"condition": {"test": shown, "value": 1}, "value": 0}


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
    """Make a chart of the table of this name, with a curve for each label.

    ``tooltip`` has the columns, with titles, that a point shows when pointed at. ``points`` is the largest number of
    points on a curve. ``curve`` is a Vega expression for the number, from 1 on, of a row's curve.
    """
    numbers = list(range(1, len(labels) + 1))
    styles = [line_style(number) for number in range(len(labels))]
    looks = {
        channel: {
            "field": "curve",
            "type": "ordinal",
            "legend": None,
            "scale": {"domain": numbers, "range": list(each)},
        }
        for channel, each in zip(("color", "strokeDash"), zip(*styles, strict=True), strict=True)
    }
    said = [{"field": "line", "type": "nominal"}] if len(labels) > 1 else []
    said += [{"field": column, "type": "nominal", "title": words} for column, words in tooltip]
    numeric = {column for panel in panels for column in (panel.column, panel.halfwidths, *panel.beside) if column}
    zoomed = [f"{LINES}{panel.column}" for panel in panels if panel.column]
    select = {"type": "interval", "encodings": ["x"], "translate": PAN, "zoom": WHEEL}
    specification = {
        "data": named_data(name, numeric),
        "transform": [
            {"calculate": axis.value, "as": "at"},
            {"calculate": curve, "as": "curve"},
            {"calculate": "labels[datum.curve - 1]", "as": "line"},
            {"filter": f"[{', '.join(f'show_{number}' for number in numbers)}][datum.curve - 1]"},
        ],
        "concat": [
            {
                "title": panel.title,
                "height": 280,
                "encoding": {"x": axis.encoding()},
                "layer": _layers(panel, looks, said, points),
            }
            for panel in panels
        ],
        "columns": len(panels),
        "params": [
            *_controls(name, labels, axis),
            {"name": "zoom", "select": select, "bind": "scales", "views": zoomed},
        ],
        "config": OF_PAGES,
    }
    legend = [
        (label, {"color": colour, "strokeDash": dashes}) for label, (colour, dashes) in zip(labels, styles, strict=True)
    ]
    key = dict(line for panel in panels for line in panel.beside.values())
    hidden = legend if len(labels) > 1 else ()
    return Plot(name, title, specification, alternative, len(panels), hidden, tuple(key.items()), zoomed=True)


def _controls(name: str, labels: Sequence[str], axis: Axis) -> list[Specification]:
    """Make a check box for each of several curves and a slider for each end of the axis; the page places them."""
    low, high = axis.slider
    words = f"log₁₀ {axis.title}" if axis.log else axis.title
    boxes: list[Specification] = [{"name": f"show_{number}", "value": True} for number in range(1, len(labels) + 1)]
    for number, box in enumerate(boxes if len(labels) > 1 else (), start=1):
        box["bind"] = {"input": "checkbox", "name": labels[number - 1], "element": f"#{name}-{number}"}
    slider = {"input": "range", "min": low, "max": high, "step": (high - low) / 200, "element": f"#{name}-zoom"}
    return [
        {"name": "labels", "value": list(labels)},
        {"name": "log_axis", "value": axis.log},
        *boxes,
        {"name": "zoom_low", "value": low, "bind": {**slider, "name": f"{words} from"}},
        {"name": "zoom_high", "value": high, "bind": {**slider, "name": f"{words} to"}},
    ]


def _layers(
    panel: Panel, looks: Mapping[str, Specification], tooltip: Sequence[Specification], points: int
) -> list[Specification]:
    """Make the layers of bands, levels and lines, and above them the points."""

    def encoding(column: str, **more: Any) -> Specification:
        return {"y": panel.vertical(column), "color": looks["color"], **more}

    def positive(column: str) -> list[Specification]:
        return [{"filter": f"datum[{column!r}] > 0"}] if panel.log else []

    layers: list[Specification] = []
    if panel.halfwidths:
        value, half = (f"datum[{column!r}]" for column in (panel.column, panel.halfwidths))
        below = f"max({value} - {half}, {panel.ends[0]})" if panel.log and panel.ends else f"{value} - {half}"
        band = [{"calculate": below, "as": "band_low"}, {"calculate": f"{value} + {half}", "as": "band_high"}]
        layers.append(
            {
                "transform": [*positive(panel.column), *band],
                "mark": {"type": "area", "opacity": 0.2, "aria": False, "clip": True},
                "encoding": encoding("band_low", y2={"field": "band_high"}),
            }
        )
    layers += [layer for level in panel.levels for layer in _level(panel, level, looks["color"])]
    layers += [
        {
            "transform": [{"filter": f"isValid(datum[{column!r}])"}, *positive(column)],
            "mark": {"type": "line", "clip": True, **mark},
            "encoding": encoding(column),
        }
        for column, (_, mark) in panel.beside.items()
    ]
    if column := panel.column:
        seen = {"condition": {"test": "true" if points <= FEW else "datum.alone", "value": 1}, "value": 0}
        # A row is alone if its neighbours on both sides have no value, so that no line shows the row's value.
        neighbours = [{"op": op, "field": column, "as": name} for op, name in (("lag", "before"), ("lead", "after"))]
        alone = f"isValid(datum[{column!r}]) && !isValid(datum.before) && !isValid(datum.after)"
        layers += [
            {
                "name": f"{LINES}{column}",
                "transform": positive(column),
                "mark": {"type": "line", "strokeWidth": 2, "clip": True},
                "encoding": encoding(column, strokeDash=looks["strokeDash"]),
            },
            {
                "name": f"{SEEN}{column}",
                "transform": [
                    *positive(column),
                    {"window": neighbours, "groupby": ["curve"], "sort": [{"field": "at"}]},
                    {"calculate": alone, "as": "alone"},
                ],
                "mark": {"type": "point", "filled": True, "size": 45, "aria": False, "clip": True},
                "encoding": encoding(column, opacity=seen, tooltip=list(tooltip)),
            },
        ]
    return layers


def _level(panel: Panel, level: Level, colour: Specification) -> list[Specification]:
    """Make a horizontal line and its label, in the colour of its curve and hidden together with it."""
    row = {"level": level.at, "says": level.says, "curve": level.curve, "label": level.label}
    base: Specification = {"data": {"values": [row]}}
    if level.curve:
        base["transform"] = [{"filter": f"show_{level.curve}"}]
    tooltip = [{"field": "says", "type": "nominal"}, {"field": "level", "type": "nominal", "title": "at"}]
    encoding = {"x": None, "y": panel.vertical("level"), "color": colour if level.curve else {"value": INK}}
    rule = {"type": "rule", "strokeWidth": 1.5, "strokeDash": [1, 3], "clip": True}
    drawn = [{**base, "mark": rule, "encoding": {**encoding, "tooltip": tooltip}}]
    if level.label:
        side = {"align": "right", "dx": -6} if level.right else {"align": "left", "dx": 6}
        side |= {"baseline": "top", "dy": 4} if level.below else {"baseline": "bottom", "dy": -4}
        named = {**encoding, "x": {"value": "width" if level.right else 0}, "text": {"field": "label"}}
        drawn.append({**base, "mark": {"type": "text", "aria": False, **side}, "encoding": named})
    return drawn
