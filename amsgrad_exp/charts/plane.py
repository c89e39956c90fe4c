"""A plane of settings as a heat map, with the boundary by theory, one panel for each optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.charts.plot import Plot, Specification, inline_data, named_data
from amsgrad_exp.charts.spacing import SPACINGS, Floats, edges, spacing
from amsgrad_exp.charts.style import LOG1M_AXIS, OF_PAGES, SYMBOLS
from amsgrad_exp.verdict import WORDS, Verdict

OVERLAP = 0.1  # of a cell
SMALLEST_AREA = 0.02  # of a plane, for its name to be written on it


@dataclass(frozen=True)
class Side:
    """One of the plane's two axes.

    Attributes:
        name: a setting or a constant, a column of the table.
        values: ascending.
    """

    name: str
    values: Sequence[float]

    @property
    def spacing(self) -> str:
        return spacing(self.values)

    def height(self, values: Any) -> Floats:
        """Where values stand on the axis; logarithmic ones are the scale's own affair."""
        numbers = np.asarray(values, float)
        return numbers if self.spacing == "log" else SPACINGS[self.spacing][0](numbers)

    def encoding(self, letter: str) -> Specification:
        """The channel of a cell's lower end."""
        low, high = self.height(edges(self.values))[[0, -1]].tolist()
        axis: dict[str, Any] = {"title": SYMBOLS.get(self.name, self.name), "tickCount": 6, "grid": False}
        if self.spacing == "log1m":
            axis |= LOG1M_AXIS
        scale = {"type": "log" if self.spacing == "log" else "linear", "domain": sorted([low, high]), "nice": False}
        return {"field": f"{letter}_low", "type": "quantitative", "scale": scale, "axis": axis}

    def borders(self, letter: str) -> Specification:
        """A transform that says where the cell of each value begins and ends: a bit under the next, to leave no gap."""
        at = self.height(edges(self.values))
        under = at[1:] + OVERLAP * np.append(np.diff(at[1:]), 0.0)
        ends = [f"{letter}_low", f"{letter}_high"]
        rows = [
            {"value": value, **dict(zip(ends, cell, strict=True))}
            for value, *cell in zip(self.values, at[:-1].tolist(), under.tolist(), strict=True)
        ]
        return {"lookup": self.name, "from": {"data": inline_data(rows), "key": "value", "fields": ends}}


@dataclass(frozen=True)
class Plane:
    """One optimizer's plane.

    Attributes:
        title: the optimizer.
        mean_x: of each cell, float64 of shape (first axis, second axis); NaN where a cell has none.
        iterate: where each settled, of the same shape; None where that is not known.
        boundary: as `sweeps.plane.boundary` returns it.
    """

    title: str
    mean_x: Floats
    iterate: NDArray[np.object_]
    boundary: tuple[Floats, ...] | None


def heat_maps(
    name: str, sides: tuple[Side, Side], planes: Sequence[Plane], ends: tuple[float, float], tooltip: Sequence[str]
) -> Plot:
    """A chart of the table of this name, with a row for each cell, whose column ``optimizer`` is a plane's title.

    Args:
        name: as of `Plot`.
        sides: the horizontal axis and the vertical one.
        planes: from left to right.
        ends: of the colours.
        tooltip: the columns that a cell shows.
    """
    words = "; ".join(_said(plane) for plane in planes)
    lines = [_boundary(sides, plane) for plane in planes]
    theory = " The line is the boundary by theory." if any(lines) else ""
    over = f"over {sides[0].name} and {sides[1].name}"
    alternative = f"The mean iterate over the last tenth of the steps, {over}. {words}.{theory}"
    panels = [
        {
            "title": plane.title,
            "height": 340,
            "layer": [_cells(name, sides, plane, ends, tooltip), *line, *_areas(sides, plane)],
        }
        for plane, line in zip(planes, lines, strict=True)
    ]
    specification = {"concat": panels, "columns": len(planes), "config": OF_PAGES}
    key = (("boundary by theory", {"color": "black", "strokeWidth": 1.5}),) if any(lines) else ()
    return Plot(name, "The plane", specification, alternative, len(planes), key=key)


def _cells(
    name: str, sides: tuple[Side, Side], plane: Plane, ends: tuple[float, float], tooltip: Sequence[str]
) -> Specification:
    """A rectangle for each cell, in the colour of its mean iterate."""
    horizontal, vertical = sides
    labels = {"values": np.linspace(*ends, 5).tolist(), "format": ".3~g"}
    colour = {
        "field": "mean_x",
        "type": "quantitative",
        "title": "mean x over the last tenth of the steps",
        "scale": {"scheme": "purpleorange", "domain": list(ends)},
        "legend": {"orient": "bottom", "direction": "horizontal", "titleLimit": 0, **labels},
    }
    return {
        "data": named_data(name, {"cell", horizontal.name, vertical.name, "mean_x"}),
        "transform": [
            {"filter": {"field": "optimizer", "equal": plane.title}},
            horizontal.borders("x"),
            vertical.borders("y"),
        ],
        "mark": {"type": "rect", "aria": False, "strokeWidth": 0, "cursor": "pointer", "invalid": None},
        "encoding": {
            "x": horizontal.encoding("x"),
            "x2": {"field": "x_high"},
            "y": vertical.encoding("y"),
            "y2": {"field": "y_high"},
            "color": colour,
            "tooltip": [{"field": column, "type": "nominal"} for column in tooltip],
        },
    }


def _boundary(sides: tuple[Side, Side], plane: Plane) -> list[Specification]:
    """The zero contour of the drift, where it has one."""
    if plane.boundary is None:
        return []
    import contourpy

    x, y, drift = plane.boundary
    x, y = sides[0].height(x), sides[1].height(y)
    lines = contourpy.contour_generator(x, y, np.ma.masked_invalid(drift)).lines(0.0)
    rows = [
        {"x": px, "y": py, "line": number, "at": at, "says": "boundary by theory"}
        for number, line in enumerate(lines)
        for at, (px, py) in enumerate(np.asarray(line).tolist())
    ]
    channels = {"detail": "line", "tooltip": "says"}
    encoding = {name: {"field": field, "type": "nominal"} for name, field in channels.items()}
    encoding |= {name: {"field": name, "type": "quantitative"} for name in ("x", "y")}
    encoding["order"] = {"field": "at", "type": "quantitative"}
    marks = [{"color": "white", "strokeWidth": 3.5}, {"color": "black", "strokeWidth": 1.5}]
    return [
        {"data": inline_data(rows), "mark": {"type": "line", "clip": True, **mark}, "encoding": encoding}
        for mark in (marks if rows else ())
    ]


def _areas(sides: tuple[Side, Side], plane: Plane) -> list[Specification]:
    """What became of cells, written in the middle of those of which it is true."""
    rows = []
    for words, cells in _outcomes(plane).items():
        columns, lines = np.nonzero(cells)
        if len(columns) <= SMALLEST_AREA * cells.size:
            continue
        middle = np.argmin((columns - np.median(columns)) ** 2 + (lines - np.median(lines)) ** 2)
        x, y = sides[0].values[columns[middle]], sides[1].values[lines[middle]]
        rows.append({"x": float(sides[0].height(x)), "y": float(sides[1].height(y)), "says": words})
    encoding: Specification = {name: {"field": name, "type": "quantitative"} for name in ("x", "y")}
    encoding["text"] = {"field": "says", "type": "nominal"}
    halo = {"stroke": "white", "strokeWidth": 4, "strokeJoin": "round", "color": "white", "aria": False}
    return [
        {
            "data": inline_data(rows),
            "mark": {"type": "text", "fontSize": 14, "tooltip": None, **mark},
            "encoding": encoding,
        }
        for mark in ((halo, {"color": "black"}) if rows else ())
    ]


def _outcomes(plane: Plane) -> dict[str, NDArray[np.bool_]]:
    areas: dict[str, NDArray[np.bool_]] = {WORDS[verdict][0]: plane.iterate == verdict for verdict in Verdict}
    return areas | {"failed or not done": np.isnan(plane.mean_x)}


def _said(plane: Plane) -> str:
    """How many of the cells settled where."""
    counts = {words: int(cells.sum()) for words, cells in _outcomes(plane).items()}
    return f"{plane.title}: " + ", ".join(f"{number:,} {words}" for words, number in counts.items() if number)
