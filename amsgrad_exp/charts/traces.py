"""Draws runs over time with their bounds (the paper's Figure 1), and the counterexample that an attack found."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.bounds import Bounds
from amsgrad_exp.charts import panels
from amsgrad_exp.charts.draw import draw
from amsgrad_exp.charts.panels import BROAD, DOTTED, THIN, Axis, Level, Line, Panel, Plot, Specification
from amsgrad_exp.charts.style import COLOURS, OF_PAGES, extent, far_apart, regret_extent
from amsgrad_exp.problems import Problem
from amsgrad_exp.trace import Trace

if TYPE_CHECKING:
    from amsgrad_exp.attacks.attack_record import Attack

TABLE = "points"
ON_FILES = 1000  # most points of a curve in a file
BOUNDS: dict[str, Line] = {"bound": ("bound on R(t)/t", BROAD), "published_bound": ("published bound", DOTTED)}
TERMS: dict[str, Line] = {
    "distance": ("distance", {"strokeWidth": 2}),
    "moves": ("moves", THIN | {"strokeWidth": 2}),
    "end": ("largest end", DOTTED),
}

SLOPES = "slopes"  # the name of the table of a counterexample
SLOPE_MARGIN = 0.06  # the margin above and below the bars, relative to the chart's height
LABEL_HEIGHT = 0.055  # the height of a label, relative to the chart's height
MOST_LABELLED = 8  # at most this many different slopes, including 0, are labelled
SCHEDULES = {"inv-sqrt": "step sizes α/√t", "constant": "constant step size α"}


@dataclass(frozen=True)
class Curve:
    """The data of one run for a chart."""

    name: str  # the name in the legend
    trace: Trace  # the points that are drawn
    problem: Problem
    limit: float | None = None  # the exact limit of R(T)/T, if it is to be drawn
    beside: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  # further columns at the same points


def regret_and_iterate(
    path: Path, traces: Mapping[str, Trace], problem: Problem, bounds: Mapping[str, Bounds] | None = None
) -> list[Path]:
    """Draw the average regret and the iterate against t as PNG and SVG, a line for each trace, and return the files.

    The path has no suffix; the traces have their names in the legend. If ``bounds`` has bounds of some traces, at the
    same steps, they are drawn too, and so is a panel with the terms of the trajectory bound divided by √t, in which a
    term of order √t is level.
    """
    shown = []
    for name, trace in traces.items():
        drawn, known = trace.spread(ON_FILES), (bounds or {}).get(name)
        beside = on_regret(known, drawn) | _terms(known, drawn) if known else {}
        shown.append(Curve(name, drawn, problem, beside=beside))
    regrets = np.concatenate([curve.trace.regret for curve in shown])
    log = bool(np.any(regrets > 0)) if bounds else far_apart(regrets)
    return draw(path, plot(shown, log=log), {TABLE: table(shown)})


def on_regret(bounds: Bounds, trace: Trace) -> dict[str, NDArray[np.float64]]:
    """Return the bounds on R(t)/t at a trace's points, by column."""
    at, t = bounds.at(trace.step), trace.step + 1
    known = {"bound": at.trajectory.total / t}
    return known | ({"published_bound": at.published.total / t} if at.published else {})


def _terms(bounds: Bounds, trace: Trace) -> dict[str, NDArray[np.float64]]:
    """Return the magnitudes of the trajectory bound's terms divided by √t at a trace's points, by column.

    The end term often changes its sign, so its column has its largest magnitude up to each step.
    """
    root = np.sqrt(trace.step + 1)
    at, every = bounds.at(trace.step).trajectory, bounds.trajectory
    largest = np.maximum.accumulate(np.abs(every.end))[np.searchsorted(every.step, trace.step)]
    parts = {"distance": at.distance, "moves": at.moves, "end": largest}
    return {name: np.abs(part) / root for name, part in parts.items()}


def table(shown: Sequence[Curve]) -> str:
    """Write the points of all curves as CSV."""
    tables = [{name: it.tolist() for name, it in (curve.trace.columns | dict(curve.beside)).items()} for curve in shown]
    widest = list(dict.fromkeys(column for columns in tables for column in columns))
    rows = (
        [number, curve.name, *row]
        for number, (curve, columns) in enumerate(zip(shown, tables, strict=True), start=1)
        for row in zip(*(columns.get(column, [""] * len(curve.trace)) for column in widest), strict=True)
    )
    return panels.as_csv(["curve", "optimizer", *widest], rows)


def plot(
    shown: Sequence[Curve], *, log: bool, alternative: str = "", levels: Sequence[Level] = (), right: bool = False
) -> Plot:
    """Make panels of the average regret, of a bound's terms if the curves have them, and of the iterate.

    At least one curve must have points. ``log`` makes the axis of the regret logarithmic, ``levels`` are further levels
    of the regret, and ``right`` places the label of x* at the right.
    """
    traces = [curve.trace for curve in shown]
    steps = np.concatenate([trace.step for trace in traces]) + 1
    low, high = float(steps.min()), float(steps.max())
    margin = (high / low) ** 0.03
    axis = Axis("toNumber(datum.step) + 1", "step t", low / margin if low < high else low / 10, high * margin, log=True)
    spread = any(trace.regret_halfwidth is not None for trace in traces)
    known = {column for curve in shown for column in curve.beside}
    ends = _regret_ends(shown, levels, log=log) or (0.0, 1.0)
    limits = [  # as far as they are positive, so that a logarithmic axis can show them
        Level(curve.limit, f"exact limit of {curve.name}", number)
        for number, curve in enumerate(shown, start=1)
        if curve.limit is not None and curve.limit > 0
    ]
    regret = Panel(
        "regret",
        "average regret R(t)/t",
        ends=ends,
        log=log,
        levels=[*limits, *levels, *([] if log or ends[0] == 0 else [Level(0, "0")])],
        halfwidths="regret_halfwidth" if spread else None,
        beside={column: line for column, line in BOUNDS.items() if column in known},
    )
    sizes = [column for curve in shown for column in _columns(curve, TERMS)] or [np.ones(1)]
    term_ends = extent(np.concatenate(sizes), log=True)
    terms = [Panel("", "|term of the bound| / √t", ends=term_ends, log=True, beside=TERMS)]
    iterate = Panel(
        "x",
        "iterate x",
        ends=_iterate_ends(shown),
        levels=[dataclasses.replace(level, right=right) for level in _optima(shown)],
        halfwidths="x_halfwidth" if spread else None,
    )
    tooltip = [("step", "step"), ("x", "x"), ("regret", "R(t)/t"), ("loss", "f(x) − f(x*)")]
    return panels.curves(
        TABLE,
        [curve.name for curve in shown],
        axis,
        [regret, *(terms if known >= TERMS.keys() else []), iterate],
        title="Average regret and iterate",
        alternative=alternative,
        tooltip=tooltip + [(column, words) for column, (words, _) in regret.beside.items()],
        points=max(map(len, traces)),
    )


def _regret_ends(shown: Sequence[Curve], levels: Sequence[Level], *, log: bool) -> tuple[float, float] | None:
    """Return the ends of the regret axis, which shows average regrets, bands, bounds, limits and other levels."""
    drawn = [column for curve in shown for column in (curve.trace.regret, *_columns(curve, BOUNDS))]
    drawn += [np.array([curve.limit]) for curve in shown if curve.limit is not None]
    drawn.append(np.array([level.at for level in levels]))
    if not log:
        halfwidths = [(curve.trace.regret, curve.trace.regret_halfwidth) for curve in shown]
        drawn += [mean + sign * half for mean, half in halfwidths if half is not None for sign in (-1, 1)]
    return regret_extent(np.concatenate(drawn), log=log)


def _columns(curve: Curve, names: Mapping[str, Any]) -> list[NDArray[np.float64]]:
    return [column for name, column in curve.beside.items() if name in names]


def _iterate_ends(shown: Sequence[Curve]) -> tuple[float, float] | None:
    """Return the ends of the iterate axis: the interval with a margin if all problems have one, else of the data."""
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


def counterexample(path: Path, attack: Attack) -> list[Path]:
    """Draw one period of the slopes, and the average regret and iterate of runs from x*, as PNG and SVG.

    The path has no suffix. Returns the files written; without a completed run, there are none.
    """
    found, runs = attack.counterexample, attack.evidence.of_each_schedule
    if found is None or "constant" not in runs:
        return []
    drawn = {name: runs[schedule] for schedule, name in SCHEDULES.items() if schedule in runs}
    shown = [Curve(name, run.trace.spread(ON_FILES), run.trial.problem) for name, run in drawn.items()]
    worst = 2 * abs(float(np.mean(found.slopes)))  # f_t(x) − f_t(x*) on average at the other end of [−1, 1]
    at_worst = Level(worst, "R(t)/t at the worst point", label="at the worst point", below=True, right=True)
    lines = plot(shown, log=False, levels=[at_worst], right=True)
    bars = slopes_plot(found.slopes, found.words).specification["concat"]
    beside = [{**panel, "height": 280} for panel in (*bars, *lines.specification["concat"])]
    title = {"text": f"Slopes over one period: {found.words}", "offset": 12, "limit": 0}
    both = {**lines.specification, "title": title, "concat": beside, "columns": len(beside)}
    tables = {TABLE: table(shown), SLOPES: slopes_table(found.slopes)}
    return draw(path, Plot(SLOPES, "", both, "", len(beside), lines.legend), tables)


def slopes_table(slopes: Sequence[int]) -> str:
    """Write the slopes as CSV."""
    return panels.as_csv(["t", "slope"], enumerate(slopes))


def slopes_plot(slopes: Sequence[int], words: str) -> Plot:
    """Draw the slopes of one period as bars, on an axis that shows both 1 and −1000; ``words`` describes them."""
    different = {*slopes, 0}
    domain = _beyond(min(different), max(different))
    labels = _labels(different if len(different) <= MOST_LABELLED else {min(different), 0, max(different)}, domain)
    axis = {"values": list(labels), "labelExpr": f"({json.dumps(labels)})[datum.value]", "labelOverlap": False}
    steps = {"format": ",d", "tickMinStep": 1, "tickCount": 8, "labelFlush": False, "labelSeparation": 6}
    bars: Specification = {
        # The stroke makes a bar visible however narrow it is.
        "mark": {"type": "bar", "color": COLOURS[1], "stroke": COLOURS[1], "strokeWidth": 1, "aria": False},
        "encoding": {
            "x": _number("t", "step t of one period", {"domain": [0, len(slopes)], "nice": False}, steps),
            "x2": {"field": "end"},
            "y": _number("slope", None, {"type": "symlog", "domain": domain, "nice": False}, axis),
            "y2": {"datum": 0},
            "tooltip": [{"field": name, "type": "nominal"} for name in ("t", "slope")],
        },
    }
    panel = {
        "title": "slope s of the loss f(x) = s·x",
        "height": 200,
        "data": panels.named_data(SLOPES, {"t", "slope"}),
        "transform": [{"calculate": "datum.t + 1", "as": "end"}],
        "layer": [bars],
    }
    alternative = f"One period of the problem, {len(slopes):,} steps: {words}."
    specification = {"concat": [panel], "columns": 1, "config": OF_PAGES}
    return Plot(SLOPES, "The counterexample", specification, alternative, 1)


def _number(column: str, title: str | None, scale: dict[str, Any], axis: dict[str, Any]) -> Specification:
    return {"field": column, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _labels(values: Iterable[int], domain: Sequence[float]) -> dict[int, str]:
    """Label values on a symlog axis; values whose labels would overlap share one label that names them all."""
    apart = LABEL_HEIGHT * (_symlog(domain[1]) - _symlog(domain[0]))
    groups: list[list[int]] = []
    for value in sorted(values):
        if groups and _symlog(value) - _symlog(groups[-1][-1]) < apart:
            groups[-1].append(value)
        else:
            groups.append([value])
    labels = {}
    for group in groups:
        others = [value for value in group if value] or group  # 0 is left out if there are others
        named = [f"{value:,}".replace("-", "−") for value in others]
        labels[max(group, key=abs)] = ", ".join(named) if len(named) < 3 else f"{named[0]} … {named[-1]}"
    return labels


def _symlog(value: float) -> float:
    return float(np.sign(value) * np.log1p(abs(value)))


def _beyond(low: int, high: int) -> list[float]:
    """Return a domain with equal margins on a symlog scale, which is sign(s)·log(1 + |s|)."""
    ends = np.array([_symlog(low), _symlog(high)])
    ends += SLOPE_MARGIN * (ends[1] - ends[0]) * np.array([-1, 1])
    wider: list[float] = (np.sign(ends) * np.expm1(np.abs(ends))).tolist()
    return wider
