"""Average regret and iterate of runs over time, with their bounds: the paper's Figure 1."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.bounds import Bounds
from amsgrad_exp.charts.curves import BROAD, DOTTED, THIN, Axis, Beside, Level, Panel, curves
from amsgrad_exp.charts.draw import draw
from amsgrad_exp.charts.plot import Plot, as_csv
from amsgrad_exp.charts.spacing import extent, far_apart, regret_extent
from amsgrad_exp.problems import Problem
from amsgrad_exp.trace import Trace

TABLE = "points"
ON_FILES = 1000  # points of a curve in a file
BOUNDS = {"bound": Beside("bound on R(t)/t", BROAD), "published_bound": Beside("published bound", DOTTED)}
TERMS = {
    "distance": Beside("distance", {"strokeWidth": 2}),
    "moves": Beside("moves", THIN | {"strokeWidth": 2}),
    "end": Beside("largest end", DOTTED),
}


@dataclass(frozen=True)
class Curve:
    """One run's points as they are drawn.

    Attributes:
        name: in the legend.
        trace: its points, as many as are drawn.
        problem: that it is of.
        limit: the exact limit of R(T)/T; None without one, or not to be drawn.
        beside: further columns at the same points, float64 (n,), by name.
    """

    name: str
    trace: Trace
    problem: Problem
    limit: float | None = None
    beside: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def regret_and_iterate(path: Path, traces: Mapping[str, Trace], problem: Problem) -> list[Path]:
    """Draw average regret and iterate against t, a line for each trace.

    Args:
        path: without a suffix; ``.png`` and ``.svg`` are added.
        traces: by the name to show in the legend.
        problem: whose interval and optimum are marked.

    Returns:
        The files written.
    """
    return _draw(path, [Curve(name, trace.spread(ON_FILES), problem) for name, trace in traces.items()])


def regret_and_bounds(
    path: Path, traces: Mapping[str, Trace], bounds: Mapping[str, Bounds], problem: Problem
) -> list[Path]:
    """As `regret_and_iterate`, with the bounds on the average regret, and a panel of the trajectory bound's terms.

    There each term is divided by √t, so that one of order √t is level or falls.

    Args:
        path, traces, problem: as there.
        bounds: of some of the traces or of all, by the same names; known at the traces' steps.
    """
    shown = {name: trace.spread(ON_FILES) for name, trace in traces.items()}
    known = {name: on_regret(bounds[name], shown[name]) | _terms(bounds[name], shown[name]) for name in bounds}
    return _draw(path, [Curve(name, trace, problem, beside=known.get(name, {})) for name, trace in shown.items()])


def _draw(path: Path, shown: Sequence[Curve]) -> list[Path]:
    return draw(path, plot(shown, log=_log(shown), alternative=""), {TABLE: table(shown)})


def on_regret(bounds: Bounds, trace: Trace) -> dict[str, NDArray[np.float64]]:
    """The bounds on R(t)/t at a trace's points, by column."""
    at, t = bounds.at(trace.step), trace.step + 1
    known = {"bound": at.trajectory.total / t}
    return known | ({"published_bound": at.published.total / t} if at.published else {})


def _terms(bounds: Bounds, trace: Trace) -> dict[str, NDArray[np.float64]]:
    """The magnitudes of the trajectory bound's terms over √t at a trace's points, by column.

    Of the end, whose sign changes all the time, it is the largest magnitude up to each step.
    """
    root = np.sqrt(trace.step + 1)
    at, every = bounds.at(trace.step).trajectory, bounds.trajectory
    largest = np.maximum.accumulate(np.abs(every.end))[np.searchsorted(every.step, trace.step)]
    parts = {"distance": at.distance, "moves": at.moves, "end": largest}
    return {name: np.abs(part) / root for name, part in parts.items()}


def _log(shown: Sequence[Curve]) -> bool:
    """Whether a file's axis for regrets is logarithmic: where all are positive and far apart, or bounds are shown."""
    regrets = np.concatenate([curve.trace.regret for curve in shown])
    if any(curve.beside for curve in shown):
        return bool(np.any(regrets > 0))
    return far_apart(regrets)


def table(shown: Sequence[Curve]) -> str:
    """The points of all curves as CSV."""
    tables = [{**curve.trace.columns, **curve.beside} for curve in shown]
    widest = list(dict.fromkeys(column for columns in tables for column in columns))

    def rows() -> Iterator[list[object]]:
        for number, (curve, columns) in enumerate(zip(shown, tables, strict=True), start=1):
            values = [columns[column].tolist() if column in columns else None for column in widest]
            for row in range(len(curve.trace)):
                yield [number, curve.name, *("" if column is None else column[row] for column in values)]

    return as_csv(["curve", "optimizer", *widest], rows())


def plot(
    shown: Sequence[Curve], *, log: bool, alternative: str, levels: Sequence[Level] = (), right: bool = False
) -> Plot:
    """Panels of the average regret, of the terms of a bound where the curves have them, and of the iterate.

    Args:
        shown: at least one curve has points.
        log: whether the axis of the regret is logarithmic.
        alternative: the chart in words.
        levels: of the regret, besides the exact limits.
        right: whether x* is named at the right.
    """
    traces = [curve.trace for curve in shown]
    steps = np.concatenate([trace.step for trace in traces]) + 1
    low, high = float(steps.min()), float(steps.max())
    margin = (high / low) ** 0.03
    axis = Axis("toNumber(datum.step) + 1", "step t", low / margin if low < high else low / 10, high * margin, log=True)
    spread = any(trace.regret_halfwidth is not None for trace in traces)
    known = {column for curve in shown for column in curve.beside}
    ends = _regret_ends(shown, levels, log=log) or (0.0, 1.0)
    regret = Panel(
        "regret",
        "average regret R(t)/t",
        ends=ends,
        log=log,
        levels=[*_limits(shown), *levels, *([] if log or ends[0] == 0 else [Level(0, "0")])],
        halfwidths="regret_halfwidth" if spread else None,
        beside={column: beside for column, beside in BOUNDS.items() if column in known},
    )
    terms = [Panel("", "|term of the bound| / √t", ends=_term_ends(shown), log=True, beside=TERMS)]
    iterate = Panel(
        "x",
        "iterate x",
        ends=_iterate_ends(shown),
        levels=[dataclasses.replace(level, right=right) for level in _optima(shown)],
        halfwidths="x_halfwidth" if spread else None,
    )
    tooltip = [("step", "step"), ("x", "x"), ("regret", "R(t)/t"), ("loss", "f(x) − f(x*)")]
    return curves(
        TABLE,
        [curve.name for curve in shown],
        axis,
        [regret, *(terms if known >= TERMS.keys() else []), iterate],
        title="Average regret and iterate",
        alternative=alternative,
        tooltip=tooltip + [(column, beside.words) for column, beside in regret.beside.items()],
        points=max(map(len, traces)),
    )


def _regret_ends(shown: Sequence[Curve], levels: Sequence[Level], *, log: bool) -> tuple[float, float] | None:
    """Of the averages, their bands, bounds, limits and other levels."""
    drawn = [column for curve in shown for column in (curve.trace.regret, *_columns(curve, BOUNDS))]
    drawn += [np.array([curve.limit]) for curve in shown if curve.limit is not None]
    drawn.append(np.array([level.at for level in levels]))
    if not log:
        halfwidths = [(curve.trace.regret, curve.trace.regret_halfwidth) for curve in shown]
        drawn += [mean + sign * half for mean, half in halfwidths if half is not None for sign in (-1, 1)]
    return regret_extent(np.concatenate(drawn), log=log)


def _term_ends(shown: Sequence[Curve]) -> tuple[float, float] | None:
    return extent(
        np.concatenate([column for curve in shown for column in _columns(curve, TERMS)] or [np.ones(1)]), log=True
    )


def _columns(curve: Curve, names: Mapping[str, Any]) -> list[NDArray[np.float64]]:
    return [column for name, column in curve.beside.items() if name in names]


def _iterate_ends(shown: Sequence[Curve]) -> tuple[float, float] | None:
    """The whole interval with a margin, where all problems have one, else what is drawn."""
    lows, highs = zip(*(curve.problem.interval for curve in shown), strict=True)
    low, high = min(lows), max(highs)
    if math.isfinite(high - low):
        margin = 0.08 * (high - low)
        return low - margin, high + margin
    return extent(np.concatenate([*(curve.trace.x for curve in shown), [level.at for level in _optima(shown)]]))


def _optima(shown: Sequence[Curve]) -> list[Level]:
    highest = max(curve.problem.interval[1] for curve in shown)
    return [
        Level(optimum, "x*, the optimum", label=f"x* = {optimum:g}".replace("-", "−"), below=optimum == highest)
        for optimum in sorted({curve.problem.optimum for curve in shown})
    ]


def _limits(shown: Sequence[Curve]) -> list[Level]:
    """The exact limit of each run that has one, as far as a logarithmic axis can show it."""
    return [
        Level(curve.limit, f"exact limit of {curve.name}", number)
        for number, curve in enumerate(shown, start=1)
        if curve.limit is not None and curve.limit > 0
    ]
