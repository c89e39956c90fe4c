"""Lines in panels side by side, over time or along a setting, that are zoomed and hidden together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from amsgrad_exp.charts.plot import Plot, Specification, inline_data, named_data
from amsgrad_exp.charts.style import DECADE, INK, LOG_LABELS, OF_PAGES, SPARSE_LOG_LABELS, line_style

# A drag moves, and the wheel with Ctrl, which is a pinch on a touchpad, zooms; the wheel alone, and a finger, scroll.
PAN = "[pointerdown[event.pointerType === 'mouse'], window:pointerup] > window:pointermove!"
WHEEL = "wheel![event.ctrlKey || event.metaKey]"
LINES = "lines_"  # how the names of the layers that are zoomed begin
SEEN = "seen_"  # and of those of the points that say what they are
FEW = 60  # points, of which each is drawn

# How a line beside a run's own is drawn. A bound is pale and broad, so that it shows on either side of a regret that it
# is almost the same as.
THIN = {"strokeWidth": 1, "strokeDash": [6, 3]}
BROAD = {"strokeWidth": 5, "opacity": 0.35}
DOTTED = {"strokeWidth": 1.5, "strokeDash": [1, 3]}


@dataclass(frozen=True)
class Axis:
    """What panels have in common.

    Attributes:
        value: of the horizontal axis, a Vega expression of ``datum``.
        title: of the axis.
        low, high: its ends, in terms of ``value``.
        log: whether it is logarithmic.
        shown: further properties of the Vega-Lite axis.
    """

    value: str
    title: str
    low: float
    high: float
    log: bool
    shown: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Level:
    """A horizontal line.

    Attributes:
        at: the value that it marks.
        says: what it is, where it is pointed at.
        curve: the number, from 1 on, of the curve that it belongs to; 0 if it belongs to none.
        label: what is written beside it; "" for nothing.
        below: whether the label is below the line.
        right: whether it is at the right.
    """

    at: float
    says: str
    curve: int = 0
    label: str = ""
    below: bool = False
    right: bool = False


@dataclass(frozen=True)
class Beside:
    """A further line for each curve, in its colour.

    Attributes:
        words: what it is.
        mark: how it is drawn, properties of a Vega-Lite line.
    """

    words: str
    mark: Mapping[str, Any]


@dataclass(frozen=True)
class Panel:
    """One quantity against the axis that all share.

    Attributes:
        column: of the table; "" if all lines are beside the curves.
        title: above the panel.
        ends: of its axis; None where they follow the data, of which there must always be some.
        log: whether its axis is logarithmic; then it has ends, and what is not positive is not drawn.
        levels: horizontal lines.
        halfwidths: the column of the halfwidths of a band about each curve; None without one.
        beside: further columns, drawn as lines of their own.
    """

    column: str
    title: str
    ends: tuple[float, float] | None = None
    log: bool = False
    levels: Sequence[Level] = ()
    halfwidths: str | None = None
    beside: Mapping[str, Beside] = field(default_factory=dict)

    @property
    def scale(self) -> Specification:
        """Of its vertical axis."""
        if self.ends:
            return {"type": "log" if self.log else "linear", "nice": False, "domain": list(self.ends)}
        return {"type": "log", "nice": False} if self.log else {"zero": False, "padding": 8}

    @property
    def axis(self) -> Specification:
        """Its vertical axis; a logarithmic one is labelled at powers of ten where it has several."""
        if not self.log:
            return {"title": None, "tickCount": 6}
        decades = math.log10(self.ends[1] / self.ends[0]) if self.ends else 2.0
        labels = LOG_LABELS if decades < 1 else SPARSE_LOG_LABELS
        few = labels if decades < 3 else f"{DECADE} ? {LOG_LABELS} : ''"
        return {
            "title": None,
            "tickCount": 6,
            "labelExpr": few,
            "gridOpacity": _grid(DECADE if decades >= 1 else "true"),
        }


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
    """A chart of the table of this name.

    Args:
        name: as of `Plot`.
        labels: of the curves; a single one is not to be hidden.
        axis: of all panels.
        panels: from left to right.
        title, alternative: as of `Plot`.
        tooltip: what a point says of itself: columns, and what they are called.
        points: at most so many on a curve.
        curve: a Vega expression for which curve a row is of, from 1 on; ``labels`` is known to it.
    """
    numbers = list(range(1, len(labels) + 1))
    styles = [line_style(number - 1) for number in numbers]
    looks = {
        channel: {"field": "curve", "type": "ordinal", "legend": None, "scale": {"domain": numbers, "range": each}}
        for channel, each in zip(
            ("color", "strokeDash"), (list(looks) for looks in zip(*styles, strict=True)), strict=True
        )
    }
    said = [{"field": "line", "type": "nominal"}] if len(labels) > 1 else []
    said += [{"field": column, "type": "nominal", "title": words} for column, words in tooltip]
    layers = [_layers(panel, looks, said, points) for panel in panels]
    specification = {
        **_rows(name, axis, panels, curve, len(labels)),
        "concat": [
            {"title": panel.title, "height": 280, "encoding": {"x": _horizontal(axis)}, "layer": drawn}
            for panel, drawn in zip(panels, layers, strict=True)
        ],
        "columns": len(panels),
        "params": [*_controls(name, labels, axis), _zoom(panels)],
        "config": OF_PAGES,
    }
    legend = [
        {"number": str(number), "label": label, "colour": colour, "dashes": " ".join(map(str, dashes))}
        for number, label, (colour, dashes) in zip(numbers, labels, styles, strict=True)
    ]
    key = {beside.words: beside.mark for panel in panels for beside in panel.beside.values()}
    hidden = legend if len(labels) > 1 else ()
    return Plot(name, title, specification, alternative, len(panels), hidden, tuple(key.items()), zoomed=True)


def _rows(name: str, axis: Axis, panels: Sequence[Panel], curve: str, count: int) -> Specification:
    """The table's rows of curves that are not hidden."""
    columns = [(panel.column, panel.halfwidths, *panel.beside) for panel in panels]
    shown = ", ".join(f"show_{number}" for number in range(1, count + 1))
    return {
        "data": named_data(name, {column for panel in columns for column in panel if column}),
        "transform": [
            {"calculate": axis.value, "as": "at"},
            {"calculate": curve, "as": "curve"},
            {"calculate": "labels[datum.curve - 1]", "as": "line"},
            {"filter": f"[{shown}][datum.curve - 1]"},
        ],
    }


def _controls(name: str, labels: Sequence[str], axis: Axis) -> list[Specification]:
    """A box for each of several curves and a slider for each end of the axis, where the page's template has room."""
    low, high = _slid(axis)
    words = f"log₁₀ {axis.title}" if axis.log else axis.title
    boxes: list[Specification] = [{"name": f"show_{number}", "value": True} for number in range(1, len(labels) + 1)]
    for number, box in enumerate(boxes, start=1):
        if len(labels) > 1:
            box["bind"] = {"input": "checkbox", "name": labels[number - 1], "element": f"#{name}-{number}"}
    slider = {"input": "range", "min": low, "max": high, "step": (high - low) / 200, "element": f"#{name}-zoom"}
    return [
        {"name": "labels", "value": list(labels)},
        {"name": "log_axis", "value": axis.log},
        *boxes,
        {"name": "zoom_low", "value": low, "bind": {**slider, "name": f"{words} from"}},
        {"name": "zoom_high", "value": high, "bind": {**slider, "name": f"{words} to"}},
    ]


def _zoom(panels: Sequence[Panel]) -> Specification:
    """One horizontal scale for all panels: what is dragged or zoomed in one moves in the others."""
    select = {"type": "interval", "encodings": ["x"], "translate": PAN, "zoom": WHEEL}
    views = [f"{LINES}{panel.column}" for panel in panels if panel.column]
    return {"name": "zoom", "select": select, "bind": "scales", "views": views}


def _ends(axis: Axis) -> list[Specification]:
    """The ends of the axis by its sliders, which may be set to where they have crossed."""
    low, high = _slid(axis)
    least = (high - low) / 50
    low_end, high_end = f"min(zoom_low, zoom_high - {least})", f"max(zoom_high, {low + least})"
    return [{"expr": f"pow(10, {end})" if axis.log else end} for end in (low_end, high_end)]


def _slid(axis: Axis) -> tuple[float, float]:
    """Between what the sliders slide; they say their values in all digits."""
    if not axis.log:
        return axis.low, axis.high
    return math.floor(100 * math.log10(axis.low)) / 100, math.ceil(100 * math.log10(axis.high)) / 100


def _horizontal(axis: Axis) -> Specification:
    """The shared axis; a logarithmic one has its ticks at 1, 2 and 5, and labels at these where it is zoomed in."""
    shown: dict[str, Any] = {"title": axis.title, "tickCount": 8, **axis.shown}
    if axis.log:
        decades = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
        shown = {"title": axis.title, "labelOverlap": False}
        shown["values"] = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
        labelled = f"{DECADE} || zoom_high - zoom_low < 1.5"
        shown |= {"labelExpr": f"{labelled} ? ({LOG_LABELS}) : ''", "gridOpacity": _grid(labelled)}
    scale = {"type": "log" if axis.log else "linear", "domain": _ends(axis), "nice": False}
    return {"field": "at", "type": "quantitative", "scale": scale, "axis": shown}


def _grid(shown: str) -> Specification:
    """The lines of a grid, where this Vega expression of a tick says so."""
    return {"condition": {"test": shown, "value": 1}, "value": 0}


def _layers(
    panel: Panel, looks: Mapping[str, Specification], tooltip: Sequence[Specification], points: int
) -> list[Specification]:
    """Bands, levels and lines, and over them the points that say what they are."""

    def vertical(column: str, **more: Any) -> Specification:
        y = {"field": column, "type": "quantitative", "scale": panel.scale, "axis": panel.axis}
        return {"y": y, "color": looks["color"], **more}

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
                "encoding": vertical("band_low", y2={"field": "band_high"}),
            }
        )
    layers += [layer for level in panel.levels for layer in _level(panel, level, looks["color"])]
    layers += [
        {
            "transform": [{"filter": f"isValid(datum[{column!r}])"}, *positive(column)],
            "mark": {"type": "line", "clip": True, **beside.mark},
            "encoding": vertical(column),
        }
        for column, beside in panel.beside.items()
    ]
    if panel.column:
        drawn = positive(panel.column)
        dots = {"type": "point", "filled": True, "size": 45, "aria": False, "clip": True}
        seen = {"condition": {"test": "true" if points <= FEW else "datum.alone", "value": 1}, "value": 0}
        layers += [
            {
                "name": f"{LINES}{panel.column}",
                "transform": drawn,
                "mark": {"type": "line", "strokeWidth": 2, "clip": True},
                "encoding": vertical(panel.column, strokeDash=looks["strokeDash"]),
            },
            {
                "name": f"{SEEN}{panel.column}",
                "transform": [*drawn, *_alone(panel.column)],
                "mark": dots,
                "encoding": vertical(panel.column, opacity=seen, tooltip=list(tooltip)),
            },
        ]
    return layers


def _alone(column: str) -> list[Specification]:
    """Whether a row's neighbours on either side have no value, so that no line shows its own."""
    names = {"lag": "before", "lead": "after"}
    window = [{"op": op, "field": column, "as": name} for op, name in names.items()]
    alone = f"isValid(datum[{column!r}]) && !isValid(datum.before) && !isValid(datum.after)"
    return [
        {"window": window, "groupby": ["curve"], "sort": [{"field": "at"}]},
        {"calculate": alone, "as": "alone"},
    ]


def _level(panel: Panel, level: Level, colour: Specification) -> list[Specification]:
    """One horizontal line, in the colour of its curve and hidden with it, and its label."""
    y = {"field": "level", "type": "quantitative", "scale": panel.scale, "axis": panel.axis}
    base: Specification = {
        "data": inline_data([{"level": level.at, "says": level.says, "curve": level.curve, "label": level.label}])
    }
    if level.curve:
        base["transform"] = [{"filter": f"show_{level.curve}"}]
    tooltip = [{"field": "says", "type": "nominal"}, {"field": "level", "type": "nominal", "title": "at"}]
    encoding = {"x": None, "y": y, "color": colour if level.curve else {"value": INK}}
    rule = {"type": "rule", "strokeWidth": 1.5, "strokeDash": [1, 3], "clip": True}
    side = {"align": "right", "dx": -6} if level.right else {"align": "left", "dx": 6}
    side |= {"baseline": "top", "dy": 4} if level.below else {"baseline": "bottom", "dy": -4}
    named = {**encoding, "x": {"value": "width" if level.right else 0}, "text": {"field": "label"}}
    text = {"type": "text", "aria": False, **side}
    drawn = [{**base, "mark": rule, "encoding": {**encoding, "tooltip": tooltip}}]
    return drawn + ([{**base, "mark": text, "encoding": named}] if level.label else [])
