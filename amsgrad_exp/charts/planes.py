"""Draws a sweep with one axis as lines, and a sweep with two axes as a heat map for each optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.charts import style
from amsgrad_exp.charts.panels import Axis, Panel, Plot, Specification, curves, named_data
from amsgrad_exp.charts.style import Floats, spacing
from amsgrad_exp.spec.sweep import Sweep
from amsgrad_exp.sweeps.against_theory import boundary, interval
from amsgrad_exp.sweeps.store import Row
from amsgrad_exp.verdict import WORDS, Verdict

TABLE = "cells"
MOST_CELLS = 20_000  # at most this many cells are drawn, since each is an element of the chart
MEAN_X = "mean x over the last tenth of the steps"
OVERLAP = 0.1  # the part of a cell that overlaps the next one
SMALLEST_AREA = 0.02  # the smallest part of a plane that an area must cover to be labelled


def columns_of(sweep: Sweep) -> tuple[str, ...]:
    """Return the most important columns of a cell."""
    return ("optimizer", *sweep.axes, "mean_x", "iterate", "regret", "regret_trend", "limit_regret", "failure")


def shown_of(sweep: Sweep) -> NDArray[np.int64]:
    """Choose the cells to show, evenly spaced along each axis: their numbers, of shape (optimizers, first axis, …)."""
    cells = np.arange(len(sweep)).reshape(sweep.shape)
    while cells.size > MOST_CELLS and max(cells.shape[1:]) > 2:
        longest = 1 + int(np.argmax(cells.shape[1:]))
        cells = np.take(cells, np.arange(0, cells.shape[longest], 2), axis=longest)
    return cells


def along(sweep: Sweep, shown: NDArray[np.int64]) -> dict[str, list[float]]:
    """Return the values of each axis that are shown."""
    positions = np.unravel_index(shown, sweep.shape)[1:]
    return {
        name: np.asarray(values)[np.unique(at)].tolist()
        for (name, values), at in zip(sweep.axes.items(), positions, strict=True)
    }


def plots(sweep: Sweep, shown: NDArray[np.int64], rows: Mapping[int, Row]) -> list[Plot]:
    """Make the chart of a sweep with one or two axes; a sweep with more axes has none.

    ``shown`` has the numbers of the cells to show, ``rows`` the rows of the finished cells by number.
    """
    axes = along(sweep, shown)
    if len(axes) == 1:
        return [_profile(sweep, axes, shown, rows)]
    if len(axes) > 2:
        return []
    (name_x, values_x), (name_y, values_y) = axes.items()
    found = [rows.get(cell, {}) for cell in shown.ravel().tolist()]
    mean_x = np.array([row.get("mean_x") for row in found], np.float64).reshape(shown.shape)
    iterate = np.array([row.get("iterate") for row in found], np.object_).reshape(shown.shape)
    planes = [
        Plane(optimizer, mean_x[number], iterate[number], boundary(sweep, optimizer))
        for number, optimizer in enumerate(sweep.optimizers)
    ]
    sides = Side(name_x, values_x), Side(name_y, values_y)
    return [heat_maps(sides, planes, interval(sweep, mean_x), columns_of(sweep))]


def _profile(
    sweep: Sweep, axes: Mapping[str, Sequence[float]], shown: NDArray[np.int64], rows: Mapping[int, Row]
) -> Plot:
    """Draw the average regret and the mean iterate along the only axis, with a line for each optimizer."""
    ((name, values),) = axes.items()
    spaced = spacing(values)
    value, ends = f"toNumber(datum[{name!r}])", np.array([values[0], values[-1]], float)
    if spaced == "log1m":
        value, ends = f"-log(1 - {value}) / LN10", style.SPACINGS[spaced][0](ends)
    low, high = style.extent(ends, log=spaced == "log") or ends.tolist()
    shown_as = style.LOG1M_AXIS if spaced == "log1m" else {}
    kept = [rows[cell] for cell in shown.ravel().tolist() if cell in rows]
    regrets, means = (np.array([row[column] for row in kept], np.float64) for column in ("regret", "mean_x"))
    log = style.far_apart(regrets)
    said = []
    for optimizer, cells in zip(sweep.optimizers, shown.tolist(), strict=True):
        done = [rows[cell] for cell in cells if cell in rows and rows[cell]["mean_x"] is not None]
        ends_said = [
            f"mean x {row['mean_x']:+.4g} and R(T)/T {row['regret']:.4g} at {name} = {row[name]:g}"
            for row in done[:1] + done[1:][-1:]
        ]
        said.append(f"{optimizer}: {', '.join(ends_said) or 'no cell has a result'}")
    return curves(
        TABLE,
        sweep.optimizers,
        Axis(value, style.SYMBOLS.get(name, name), low, high, log=spaced == "log", shown=shown_as),
        [
            Panel("regret", "average regret R(T)/T", ends=style.regret_extent(regrets, log=log), log=log),
            Panel("mean_x", MEAN_X, ends=style.extent(means)),
        ],
        title=f"Along {name}",
        alternative=f"Two panels against {name}: average regret, and mean x over the last tenth. {'; '.join(said)}.",
        tooltip=[
            (name, name),
            ("regret", "R(T)/T"),
            ("mean_x", "mean x"),
            *((same, same) for same in ("iterate", "failure")),
        ],
        points=shown.shape[1],
        curve="indexof(labels, datum.optimizer) + 1",
    )


@dataclass(frozen=True)
class Side:
    """One of the two axes of a plane: the column of a setting or constant, and its values, ascending."""

    name: str
    values: Sequence[float]

    @property
    def spacing(self) -> str:
        return spacing(self.values)

    def height(self, values: Any) -> Floats:
        """Return the coordinates of values; Vega itself takes the logarithm on a logarithmic axis."""
        numbers = np.asarray(values, float)
        return numbers if self.spacing == "log" else style.SPACINGS[self.spacing][0](numbers)

    def encoding(self, letter: str) -> Specification:
        """Encode the channel of a cell's lower end."""
        ends = self.height(style.edges(self.values))[[0, -1]].tolist()
        axis: dict[str, Any] = {"title": style.SYMBOLS.get(self.name, self.name), "tickCount": 6, "grid": False}
        if self.spacing == "log1m":
            axis |= style.LOG1M_AXIS
        scale = {"type": "log" if self.spacing == "log" else "linear", "domain": sorted(ends), "nice": False}
        return {"field": f"{letter}_low", "type": "quantitative", "scale": scale, "axis": axis}

    def borders(self, letter: str) -> Specification:
        """Make a transform that finds the ends of each value's cell; it overlaps the next cell, to leave no gap."""
        at = self.height(style.edges(self.values))
        under = at[1:] + OVERLAP * np.append(np.diff(at[1:]), 0.0)
        ends = [f"{letter}_low", f"{letter}_high"]
        rows = [
            {"value": value, **dict(zip(ends, cell, strict=True))}
            for value, *cell in zip(self.values, at[:-1].tolist(), under.tolist(), strict=True)
        ]
        return {"lookup": self.name, "from": {"data": {"values": rows}, "key": "value", "fields": ends}}


@dataclass(frozen=True)
class Plane:
    """One optimizer's plane; arrays have the shape (first axis, second axis)."""

    title: str  # the optimizer's name
    mean_x: Floats  # the mean iterate of each cell; NaN if it has none
    iterate: NDArray[np.object_]  # where each cell settled; None if it failed or is not done
    boundary: tuple[Floats, ...] | None  # from `against_theory.boundary`

    def outcomes(self) -> dict[str, NDArray[np.bool_]]:
        """Return the cells of each outcome, by the outcome in words."""
        areas: dict[str, NDArray[np.bool_]] = {WORDS[verdict][0]: self.iterate == verdict for verdict in Verdict}
        return areas | {"failed or not done": np.isnan(self.mean_x)}


def heat_maps(
    sides: tuple[Side, Side], planes: Sequence[Plane], ends: tuple[float, float], tooltip: Sequence[str]
) -> Plot:
    """Make a chart of the table of cells, whose column ``optimizer`` has the titles of the planes.

    ``ends`` are the ends of the colour scale; ``tooltip`` has the columns that a cell shows when pointed at.
    """
    lines = [_boundary(sides, plane) for plane in planes]
    counts = [{words: int(cells.sum()) for words, cells in plane.outcomes().items()} for plane in planes]
    said = [
        f"{plane.title}: " + ", ".join(f"{number:,} {words}" for words, number in count.items() if number)
        for plane, count in zip(planes, counts, strict=True)
    ]
    theory = " The line is the boundary by theory." if any(lines) else ""
    over = f"over {sides[0].name} and {sides[1].name}"
    panels = [
        {
            "title": plane.title,
            "height": 340,
            "layer": [_cells(sides, plane, ends, tooltip), *line, *_areas(sides, plane)],
        }
        for plane, line in zip(planes, lines, strict=True)
    ]
    return Plot(
        TABLE,
        "The plane",
        {"concat": panels, "columns": len(planes), "config": style.OF_PAGES},
        f"The mean iterate over the last tenth of the steps, {over}. {'; '.join(said)}.{theory}",
        len(planes),
        key=(("boundary by theory", {"color": "black", "strokeWidth": 1.5}),) if any(lines) else (),
    )


def _cells(sides: tuple[Side, Side], plane: Plane, ends: tuple[float, float], tooltip: Sequence[str]) -> Specification:
    """Draw a rectangle for each cell, in the colour of its mean iterate."""
    horizontal, vertical = sides
    labels = {"values": np.linspace(*ends, 5).tolist(), "format": ".3~g"}
    return {
        "data": named_data(TABLE, {"cell", horizontal.name, vertical.name, "mean_x"}),
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
            "color": {
                "field": "mean_x",
                "type": "quantitative",
                "title": MEAN_X,
                "scale": {"scheme": "purpleorange", "domain": list(ends)},
                "legend": {"orient": "bottom", "direction": "horizontal", "titleLimit": 0, **labels},
            },
            "tooltip": [{"field": column, "type": "nominal", "title": column.replace("_", " ")} for column in tooltip],
        },
    }


def _boundary(sides: tuple[Side, Side], plane: Plane) -> list[Specification]:
    """Draw the zero contour of the drift, if there is one."""
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
    encoding: Specification = {
        "detail": {"field": "line", "type": "nominal"},
        "tooltip": {"field": "says", "type": "nominal"},
        "order": {"field": "at", "type": "quantitative"},
    }
    marks = [{"color": "white", "strokeWidth": 3.5}, {"color": "black", "strokeWidth": 1.5}]
    return _twice(rows, [{"type": "line", "clip": True, **mark} for mark in marks], encoding)


def _areas(sides: tuple[Side, Side], plane: Plane) -> list[Specification]:
    """Write each outcome in the middle of its cells."""
    rows = []
    for words, cells in plane.outcomes().items():
        columns, lines = np.nonzero(cells)
        if len(columns) <= SMALLEST_AREA * cells.size:
            continue
        middle = np.argmin((columns - np.median(columns)) ** 2 + (lines - np.median(lines)) ** 2)
        x, y = sides[0].values[columns[middle]], sides[1].values[lines[middle]]
        rows.append({"x": float(sides[0].height(x)), "y": float(sides[1].height(y)), "says": words})
    halo = {"stroke": "white", "strokeWidth": 4, "strokeJoin": "round", "color": "white", "aria": False}
    marks = [{"type": "text", "fontSize": 14, "tooltip": None, **mark} for mark in (halo, {"color": "black"})]
    return _twice(rows, marks, {"text": {"field": "says", "type": "nominal"}})


def _twice(
    rows: Sequence[Mapping[str, Any]], marks: Sequence[Mapping[str, Any]], encoding: Mapping[str, Any]
) -> list[Specification]:
    """Draw rows with x and y twice: in white, and above it in black, which is then legible on every colour."""
    place = {name: {"field": name, "type": "quantitative"} for name in ("x", "y")}
    return [
        {"data": {"values": list(rows)}, "mark": mark, "encoding": {**place, **encoding}}
        for mark in (marks if rows else ())
    ]
