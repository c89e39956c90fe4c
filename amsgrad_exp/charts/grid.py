"""A sweep of one axis as lines along it, or of two as planes; a chart of the table of its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.charts.curves import Axis, Panel, curves
from amsgrad_exp.charts.plane import Plane, Side, heat_maps
from amsgrad_exp.charts.plot import Plot
from amsgrad_exp.charts.spacing import SPACINGS, extent, far_apart, regret_extent, spacing
from amsgrad_exp.charts.style import LOG1M_AXIS, SYMBOLS
from amsgrad_exp.spec.grid import Sweep
from amsgrad_exp.sweeps.plane import boundary, interval
from amsgrad_exp.sweeps.store import Row

TABLE = "cells"
MOST_CELLS = 20_000  # each is an element of the chart


def columns_of(sweep: Sweep) -> tuple[str, ...]:
    """The most important columns of a cell."""
    return ("optimizer", *sweep.axes, "mean_x", "iterate", "regret", "regret_trend", "limit_regret", "failure")


def shown_of(sweep: Sweep) -> NDArray[np.int64]:
    """The numbers of the cells shown, of shape (optimizers, first axis, …), evenly spaced along each axis."""
    cells = np.arange(len(sweep)).reshape(sweep.shape)
    while cells.size > MOST_CELLS and max(cells.shape[1:]) > 2:
        longest = 1 + int(np.argmax(cells.shape[1:]))
        cells = np.take(cells, np.arange(0, cells.shape[longest], 2), axis=longest)
    return cells


def along(sweep: Sweep, shown: NDArray[np.int64]) -> dict[str, list[float]]:
    """The values of each axis that are shown."""
    positions = np.unravel_index(shown, sweep.shape)[1:]
    return {
        name: np.asarray(values)[np.unique(at)].tolist()
        for (name, values), at in zip(sweep.axes.items(), positions, strict=True)
    }


def plots(sweep: Sweep, shown: NDArray[np.int64], rows: Mapping[int, Row]) -> list[Plot]:
    """The chart of a sweep with one axis or two; none of one with more.

    Args:
        sweep: what was run.
        shown: the numbers of the cells that are shown, of `shown_of`.
        rows: those that are done, by number.
    """
    axes = along(sweep, shown)
    if len(axes) == 1:
        return [_profile(sweep, axes, shown, rows)]
    if len(axes) > 2:
        return []
    (name_x, values_x), (name_y, values_y) = axes.items()
    found = np.array([rows.get(cell, {}) for cell in shown.ravel().tolist()], np.object_).reshape(shown.shape)
    mean_x = np.vectorize(lambda row: np.nan if row.get("mean_x") is None else row["mean_x"], otypes=[float])(found)
    iterate = np.vectorize(lambda row: row.get("iterate"), otypes=[object])(found)
    planes = [
        Plane(optimizer, mean_x[number], iterate[number], boundary(sweep, optimizer))
        for number, optimizer in enumerate(sweep.optimizers)
    ]
    sides = Side(name_x, values_x), Side(name_y, values_y)
    return [heat_maps(TABLE, sides, planes, interval(sweep, mean_x), columns_of(sweep))]


def _profile(
    sweep: Sweep, axes: Mapping[str, Sequence[float]], shown: NDArray[np.int64], rows: Mapping[int, Row]
) -> Plot:
    """Average regret and mean iterate along the only axis, with a line for each optimizer."""
    ((name, values),) = axes.items()
    spaced = spacing(values)
    low, high = (float(end) for end in (values[0], values[-1]))
    value = f"toNumber(datum[{name!r}])"
    if spaced == "log1m":
        value = f"-log(1 - {value}) / LN10"
        low, high = SPACINGS[spaced][0](np.array([low, high])).tolist()
    low, high = extent(np.array([low, high]), log=spaced == "log") or (low, high)
    axis = Axis(
        value, SYMBOLS.get(name, name), low, high, log=spaced == "log", shown=LOG1M_AXIS if spaced == "log1m" else {}
    )
    kept = [rows[cell] for cell in shown.ravel().tolist() if cell in rows]

    regrets, means = (np.array([row[column] for row in kept], np.float64) for column in ("regret", "mean_x"))
    log = far_apart(regrets)
    panels = [
        Panel("regret", "average regret R(T)/T", ends=regret_extent(regrets, log=log), log=log),
        Panel("mean_x", "mean x over the last tenth of the steps", ends=extent(means)),
    ]
    tooltip = [(name, name), ("regret", "R(T)/T"), ("mean_x", "mean x"), ("iterate", "iterate"), ("failure", "failure")]
    ends = [
        f"{optimizer}: {_said(name, cells.tolist(), rows)}"
        for optimizer, cells in zip(sweep.optimizers, shown, strict=True)
    ]
    words = f"Two panels against {name}: average regret, and mean x over the last tenth. {'; '.join(ends)}."
    return curves(
        TABLE,
        sweep.optimizers,
        axis,
        panels,
        title=f"Along {name}",
        alternative=words,
        tooltip=tooltip,
        points=shown.shape[1],
        curve="indexof(labels, datum.optimizer) + 1",
    )


def _said(name: str, cells: Sequence[int], rows: Mapping[int, Row]) -> str:
    """The results of the first and the last cell of a line, in words."""
    done = [rows[cell] for cell in cells if cell in rows and rows[cell]["mean_x"] is not None]
    ends = done[:1] + done[1:][-1:]
    said = [f"mean x {row['mean_x']:+.4g} and R(T)/T {row['regret']:.4g} at {name} = {row[name]:g}" for row in ends]
    return ", ".join(said) or "no cell has a result"
