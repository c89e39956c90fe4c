"""A plane of settings as a heat map, with the boundary by theory, one panel for each optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import contourpy
import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.output.figures.style import SPACINGS, edges, spacing
from amsgrad_exp.report.page import Plot
from amsgrad_exp.report.style import CONFIGURATION, LOG1M_LABELS
from amsgrad_exp.verdict import WORDS, Verdict

Floats = NDArray[np.float64]

FAILED = "#8a8f98"
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

    def encoding(self, channel: type[alt.X] | type[alt.Y]) -> Any:
        """The channel of a cell's lower end."""
        low, high = self.height(edges(self.values))[[0, -1]].tolist()
        shown: dict[str, Any] = {"title": self.name, "tickCount": 6, "grid": False}
        if self.spacing == "log1m":
            shown |= {"labelExpr": LOG1M_LABELS, "tickMinStep": 1}
        scale = alt.Scale(type="log" if self.spacing == "log" else "linear", domain=sorted([low, high]), nice=False)
        letter = "x" if channel is alt.X else "y"
        return channel(f"{letter}_low:Q", scale=scale, axis=alt.Axis(**shown))


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
    """A figure of the table of this name, with a row for each cell, whose column ``optimizer`` is a plane's title.

    Args:
        name: as of `Plot`.
        sides: the horizontal axis and the vertical one.
        planes: from left to right.
        ends: of the colours.
        tooltip: the columns that a cell shows.
    """
    drawn = [_panel(name, sides, plane, ends, tooltip) for plane in planes]
    chart = alt.concat(*drawn, columns=len(planes))
    words = "; ".join(_said(plane) for plane in planes)
    theory = " The line is the boundary by theory." if any(plane.boundary for plane in planes) else ""
    over = f"over {sides[0].name} and {sides[1].name}"
    alternative = f"The mean iterate over the last tenth of the steps, {over}. {words}.{theory}"
    return Plot(name, "The plane", {**chart.to_dict(), "config": CONFIGURATION}, alternative, len(planes))


def _panel(
    name: str, sides: tuple[Side, Side], plane: Plane, ends: tuple[float, float], tooltip: Sequence[str]
) -> alt.LayerChart:
    horizontal, vertical = sides
    numeric = dict.fromkeys(("cell", horizontal.name, vertical.name, "mean_x"), "number")
    cells = (
        alt.Chart(alt.NamedData(name, format=alt.CsvDataFormat(type="csv", parse=numeric)))
        .transform_filter(alt.FieldEqualPredicate(field="optimizer", equal=plane.title))
        .transform_lookup(horizontal.name, _borders(horizontal, "x"))
        .transform_lookup(vertical.name, _borders(vertical, "y"))
    )
    colour = alt.Color("mean_x:Q", title="mean x").scale(scheme="purpleorange", domain=list(ends))
    colour = colour.legend(orient="bottom", direction="horizontal")
    rectangles = cells.mark_rect(aria=False, strokeWidth=0, cursor="pointer").encode(
        x=horizontal.encoding(alt.X),
        x2="x_high",
        y=vertical.encoding(alt.Y),
        y2="y_high",
        color=alt.condition("isValid(datum.mean_x)", colour, alt.value(FAILED)),
        tooltip=[alt.Tooltip(f"{column}:N") for column in tooltip],
    )
    layers = [rectangles, *_boundary(sides, plane), *_areas(sides, plane)]
    return alt.LayerChart(layer=layers, title=plane.title, height=340)


def _borders(side: Side, letter: str) -> alt.LookupData:
    """Where the cell of each value begins and ends."""
    at = side.height(edges(side.values)).tolist()
    rows = [
        {"value": value, f"{letter}_low": low, f"{letter}_high": high}
        for value, low, high in zip(side.values, at[:-1], at[1:], strict=True)
    ]
    return alt.LookupData(data=alt.InlineData(values=rows), key="value", fields=[f"{letter}_low", f"{letter}_high"])


def _boundary(sides: tuple[Side, Side], plane: Plane) -> list[alt.Chart]:
    """The zero contour of the drift, where it has one."""
    if plane.boundary is None:
        return []
    x, y, drift = plane.boundary
    x, y = sides[0].height(x), sides[1].height(y)
    lines = contourpy.contour_generator(x, y, np.ma.masked_invalid(drift)).lines(0.0)
    rows = [
        {"x": px, "y": py, "line": number, "at": at, "says": "boundary by theory"}
        for number, line in enumerate(lines)
        for at, (px, py) in enumerate(np.asarray(line).tolist())
    ]
    if not rows:
        return []
    base = alt.Chart(alt.InlineData(values=rows))
    placed = base.encode(x="x:Q", y="y:Q", detail="line:N", order="at:Q", tooltip="says:N")
    return [placed.mark_line(color="white", strokeWidth=5, clip=True), placed.mark_line(color="black", clip=True)]


def _areas(sides: tuple[Side, Side], plane: Plane) -> list[alt.Chart]:
    """What became of cells, written in the middle of those of which it is true."""
    rows = []
    for words, cells in _outcomes(plane).items():
        columns, lines = np.nonzero(cells)
        if len(columns) <= SMALLEST_AREA * cells.size:
            continue
        middle = np.argmin((columns - np.median(columns)) ** 2 + (lines - np.median(lines)) ** 2)
        x, y = sides[0].values[columns[middle]], sides[1].values[lines[middle]]
        rows.append({"x": float(sides[0].height(x)), "y": float(sides[1].height(y)), "says": words})
    if not rows:
        return []
    text = alt.Chart(alt.InlineData(values=rows)).encode(x="x:Q", y="y:Q", text="says:N")
    plain: dict[str, Any] = {"fontSize": 13, "tooltip": None}
    return [
        text.mark_text(**plain, stroke="white", strokeWidth=4, strokeJoin="round", color="white", aria=False),
        text.mark_text(**plain, color="black"),
    ]


def _outcomes(plane: Plane) -> dict[str, NDArray[np.bool_]]:
    areas: dict[str, NDArray[np.bool_]] = {WORDS[verdict][0]: plane.iterate == verdict for verdict in Verdict}
    return areas | {"failed or not done": np.isnan(plane.mean_x)}


def _said(plane: Plane) -> str:
    """How many of the cells came to what."""
    counts = {words: int(cells.sum()) for words, cells in _outcomes(plane).items()}
    return f"{plane.title}: " + ", ".join(f"{number:,} {words}" for words, number in counts.items() if number)
