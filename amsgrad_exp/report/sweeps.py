"""Builds the page of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.output.figures.style import SPACINGS, spacing
from amsgrad_exp.report.cells import checked, missing
from amsgrad_exp.report.curves import Axis, Panel, curves, extent
from amsgrad_exp.report.page import Page, Plot, as_csv, short
from amsgrad_exp.report.plane import Plane, Side, heat_maps
from amsgrad_exp.report.style import LOG1M_LABELS
from amsgrad_exp.spec.command import command
from amsgrad_exp.spec.grid import Sweep
from amsgrad_exp.sweeps.picture import interval
from amsgrad_exp.sweeps.plane import boundary
from amsgrad_exp.sweeps.store import Row
from amsgrad_exp.verdict import WORDS, Verdict

MOST_CELLS = 20_000  # each cell is an element of the page
MOST_ROWS = 500  # of the table
OPTIONS = {"settings": "--{}=", "options": "--option {}=", "problem": "--set {}="}  # that set an axis's target


def page(directory: Path, sweep: Sweep) -> Page:
    """The page of a complete or unfinished sweep.

    Raises:
        Damaged, RunError: as in `cells.checked`.
    """
    with checked(directory, sweep) as results:
        columns, counts = results.columns, results.counts()
        rows = {row["cell"]: row for row in results.rows()}
    shown = _shown(sweep)
    kept = [rows[cell] for cell in shown.ravel().tolist() if cell in rows]
    lines = missing(directory, sweep, len(rows))
    if len(kept) < len(rows):
        lines.append(f"This page shows {len(kept):,} of {len(rows):,} cells, evenly spaced along each axis.")
    return Page(
        template="sweep.html",
        title=short(f"{' and '.join(sweep.optimizers)} on {sweep.example.problem.name}", 120),
        lead=f"{_axes(sweep)}, {len(sweep):,} cells of {sweep.example.steps:,} steps",
        plots=_plots(sweep, shown, rows),
        tables={"cells": as_csv(columns, (row.values() for row in kept))},
        content={
            "columns": list(_columns(sweep)),
            "rows": [[row.get(name) for name in _columns(sweep)] for row in kept] if len(kept) <= MOST_ROWS else [],
            "counts": _counted(counts),
            "missing": lines,
            "chooser": _chooser(sweep, shown),
            "settings": sweep.to_yaml(),
            "id": directory.name,
            "name": sweep.name,
        },
    )


def _axes(sweep: Sweep) -> str:
    return " × ".join(f"{name} ({len(values):,})" for name, values in sweep.axes.items())


def _columns(sweep: Sweep) -> tuple[str, ...]:
    """The most important columns of a cell."""
    return ("optimizer", *sweep.axes, "mean_x", "iterate", "regret", "regret_trend", "limit_regret", "failure")


def _shown(sweep: Sweep) -> NDArray[np.int64]:
    """The numbers of the cells shown, of shape (optimizers, first axis, …), evenly spaced along each axis."""
    cells = np.arange(len(sweep)).reshape(sweep.shape)
    while cells.size > MOST_CELLS and max(cells.shape[1:]) > 2:
        longest = 1 + int(np.argmax(cells.shape[1:]))
        cells = np.take(cells, np.arange(0, cells.shape[longest], 2), axis=longest)
    return cells


def _counted(counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """How many cells settle where, by optimizer."""
    verdicts = [verdict for verdict in (*Verdict, "failed") if any(verdict in by for by in counts.values())]
    words = {verdict: WORDS[verdict][0] if isinstance(verdict, Verdict) else verdict for verdict in verdicts}
    rows = {optimizer: [by.get(verdict, 0) for verdict in verdicts] for optimizer, by in counts.items()}
    return {"verdicts": list(words.values()), "rows": rows}


def _along(sweep: Sweep, shown: NDArray[np.int64]) -> dict[str, list[float]]:
    """The values of each axis that are shown."""
    positions = np.unravel_index(shown, sweep.shape)[1:]
    return {
        name: np.asarray(values)[np.unique(at)].tolist()
        for (name, values), at in zip(sweep.axes.items(), positions, strict=True)
    }


def _chooser(sweep: Sweep, shown: NDArray[np.int64]) -> dict[str, Any]:
    """The choices that select a cell, and for each optimizer the beginning of the command that runs a cell."""
    commands = {
        optimizer: command({**sweep.data, "optimizers": [entry]})
        for optimizer, entry in zip(sweep.optimizers, sweep.data["optimizers"], strict=True)
    }
    options = {axis: OPTIONS[target.of].format(target.name) for axis, target in sweep.targets.items()}
    return {"optimizers": sweep.optimizers, "axes": _along(sweep, shown), "commands": commands, "options": options}


def _plots(sweep: Sweep, shown: NDArray[np.int64], rows: Mapping[int, Row]) -> list[Plot]:
    along = _along(sweep, shown)
    if len(along) == 1:
        return [_profile(sweep, along, shown, rows)]
    if len(along) > 2:
        return []
    (name_x, values_x), (name_y, values_y) = along.items()
    found = np.array([rows.get(cell, {}) for cell in shown.ravel().tolist()], np.object_).reshape(shown.shape)
    mean_x = np.vectorize(lambda row: np.nan if row.get("mean_x") is None else row["mean_x"], otypes=[float])(found)
    iterate = np.vectorize(lambda row: row.get("iterate"), otypes=[object])(found)
    planes = [
        Plane(optimizer, mean_x[number], iterate[number], boundary(sweep, optimizer))
        for number, optimizer in enumerate(sweep.optimizers)
    ]
    sides = Side(name_x, values_x), Side(name_y, values_y)
    return [heat_maps("cells", sides, planes, interval(sweep, mean_x), _columns(sweep))]


def _profile(
    sweep: Sweep, along: Mapping[str, Sequence[float]], shown: NDArray[np.int64], rows: Mapping[int, Row]
) -> Plot:
    """Average regret and mean iterate along the only axis, with a line for each optimizer."""
    ((name, values),) = along.items()
    spaced = spacing(values)
    low, high = (float(end) for end in (values[0], values[-1]))
    value, labels = f"toNumber(datum[{name!r}])", None
    if spaced == "log1m":
        value, labels = f"-log(1 - {value}) / LN10", LOG1M_LABELS
        low, high = SPACINGS[spaced][0](np.array([low, high])).tolist()
    low, high = (low, high) if low < high else (low - 1, high + 1)
    axis = Axis(value, name, low, high, log=spaced == "log", labels=labels)
    kept = [rows[cell] for cell in shown.ravel().tolist() if cell in rows]

    def fit(column: str) -> tuple[float, float] | None:
        return extent(np.array([row[column] for row in kept], np.float64))

    panels = [
        Panel("regret", "average regret R(T)/T", ends=fit("regret")),
        Panel("mean_x", "mean x over the last tenth", ends=fit("mean_x")),
    ]
    tooltip = [(name, name), ("regret", "R(T)/T"), ("mean_x", "mean x"), ("iterate", "iterate"), ("failure", "failure")]
    ends = [
        f"{optimizer}: {_said(name, cells.tolist(), rows)}"
        for optimizer, cells in zip(sweep.optimizers, shown, strict=True)
    ]
    words = f"Two panels against {name}: average regret, and mean x over the last tenth. {'; '.join(ends)}."
    return curves(
        "cells",
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
