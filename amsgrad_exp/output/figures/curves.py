"""Average regret and iterate, along time or along a setting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from amsgrad_exp.bounds import Bounds
from amsgrad_exp.output.figures.style import COLOURS, DASHES, STYLE, save, set_axis
from amsgrad_exp.problems.base import Problem
from amsgrad_exp.trace import Trace

LONGEST_NAME_INSIDE = 36  # characters that a legend has room for beside the lines

END = "largest end"

# A bound is pale and broad, so that it shows on either side of a regret that it is almost the same as.
BOUNDS: dict[str, dict[str, Any]] = {
    "bound": {"linestyle": "-", "linewidth": 5, "alpha": 0.35},
    "published bound": {"linestyle": (0, (1, 2)), "linewidth": 1},
}
TERMS: dict[str, dict[str, Any]] = {
    "distance": {"linestyle": "-", "linewidth": 1.5},
    "moves": {"linestyle": (0, (4, 2)), "linewidth": 1.5},
    END: {"linestyle": (0, (1, 2)), "linewidth": 1},
}


@dataclass(frozen=True)
class Curve:
    """One line in each of two panels, and the halfwidths of the bands about it where there are any; float64 (n,)."""

    at: NDArray[Any]
    regret: NDArray[np.float64]
    iterate: NDArray[np.float64]
    regret_halfwidth: NDArray[np.float64] | None = None
    iterate_halfwidth: NDArray[np.float64] | None = None


def regret_and_iterate(path: Path, traces: Mapping[str, Trace], problem: Problem) -> list[Path]:
    """The paper's Figure 1: average regret and iterate against t, a line for each trace.

    Args:
        path: without a suffix; ``.png`` and ``.svg`` are added.
        traces: by the name to show in the legend.
        problem: whose interval and optimum are marked.

    Returns:
        The files written.
    """
    with matplotlib.rc_context(STYLE):
        figure, (regret, iterate) = _panels(2)
        _legend(figure, regret, _draw_traces(regret, iterate, traces, problem))
        return save(figure, path)


def regret_and_bounds(
    path: Path, traces: Mapping[str, Trace], bounds: Mapping[str, Bounds], problem: Problem
) -> list[Path]:
    """As `regret_and_iterate`, with the bounds on the average regret, and a panel of the trajectory bound's terms.

    There each term is divided by √t, so that one of order √t is level or falls.

    Args:
        path, traces, problem: as there.
        bounds: of some of the traces or of all, by the same names; known at the traces' steps.
    """
    with matplotlib.rc_context(STYLE):
        figure, (regret, terms, iterate) = _panels(3)
        lines = _draw_traces(regret, iterate, traces, problem)
        _prepare_steps(terms)
        kinds: dict[str, Line2D] = {}
        for number, (name, trace) in enumerate(traces.items()):
            if name in bounds:
                steps = trace.spread(1000).step
                kinds |= _draw_bounds(regret, terms, bounds[name], steps, COLOURS[number % len(COLOURS)])
        regret.set_yscale("symlog" if min(map(_lowest, regret.get_lines())) <= 0 else "log")
        terms.set_ylabel(r"$|$term of the bound$|\,/\sqrt{t}$")
        terms.set_yscale("log")
        _legend(figure, regret, lines | {kind: kinds[kind] for kind in BOUNDS if kind in kinds})
        _legend(figure, terms, {kind: kinds[kind] for kind in TERMS})
        return save(figure, path)


def _draw_bounds(regret: Axes, terms: Axes, bounds: Bounds, steps: NDArray[np.int64], colour: str) -> dict[str, Line2D]:
    """Draw one run's bounds at some steps, and return what stands for each kind of line in legends.

    Of end, whose sign changes all the time, it is the largest magnitude up to each step.
    """
    largest = np.maximum.accumulate(np.abs(bounds.trajectory.end))
    known = bounds.at(steps)
    trajectory, t = known.trajectory, steps + 1
    shown = [(regret, "bound", trajectory.total / t)]
    if known.published:
        shown.append((regret, "published bound", known.published.total / t))
    parts = {"distance": trajectory.distance, "moves": trajectory.moves}
    parts[END] = largest[np.searchsorted(bounds.trajectory.step, steps)]
    shown += [(terms, name, np.abs(part) / np.sqrt(t)) for name, part in parts.items()]
    kinds = {}
    for axes, kind, numbers in shown:
        axes.plot(t, numbers, color=colour, **(BOUNDS | TERMS)[kind])
        kinds[kind] = Line2D([], [], color="0.3", **(BOUNDS | TERMS)[kind])
    return kinds


def _lowest(line: Line2D) -> float:
    numbers = np.asarray(line.get_ydata(), float)
    return float(np.nanmin(numbers, initial=np.inf))


def _draw_traces(regret: Axes, iterate: Axes, traces: Mapping[str, Trace], problem: Problem) -> dict[str, Line2D]:
    """Draw average regret and iterate against t; return each trace's line."""
    shown = {name: trace.spread(1000) for name, trace in traces.items()}
    curves = {
        name: Curve(trace.step + 1, trace.regret, trace.x, trace.regret_halfwidth, trace.x_halfwidth)
        for name, trace in shown.items()
    }
    for axes in (regret, iterate):
        _prepare_steps(axes)
    lines = _draw(regret, iterate, curves)
    regret.set_ylabel("average regret $R(t)/t$")
    iterate.set_ylabel("iterate $x_t$")
    _mark_optimum(iterate, problem)
    return lines


def _prepare_steps(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("step $t$")


def profile(path: Path, name: str, values: Sequence[float], columns: Mapping[str, Mapping[str, Any]]) -> list[Path]:
    """Average regret and mean iterate along one axis, a line for each optimizer.

    Args:
        path: without a suffix; ``.png`` and ``.svg`` are added.
        name, values: the axis.
        columns: by optimizer, the arrays ``regret`` and ``mean_x``, float64 of the axis's length; NaN where a cell
            failed.

    Returns:
        The files written.
    """
    at = np.asarray(values)
    curves = {optimizer: Curve(at, column["regret"], column["mean_x"]) for optimizer, column in columns.items()}
    with matplotlib.rc_context(STYLE):
        figure, (regret, iterate) = _panels(2)
        for axes in (regret, iterate):
            set_axis(axes.xaxis, axes.set_xscale, name, values)
        _legend(figure, regret, _draw(regret, iterate, curves))
        regret.set_ylabel("average regret $R(T)/T$")
        iterate.set_ylabel("mean iterate over the last tenth")
        return save(figure, path)


def _panels(number: int) -> tuple[Figure, Sequence[Axes]]:
    """A figure of so many panels side by side, the first one for regrets and the last one for iterates."""
    figure = Figure(figsize=(4.5 * number, 3.6), layout="constrained")
    return figure, figure.subplots(1, number)


def _draw(regret: Axes, iterate: Axes, curves: Mapping[str, Curve]) -> dict[str, Line2D]:
    """Draw the curves, regrets on a logarithmic axis where all are positive and far apart; return each one's line."""
    lines = []
    for number, curve in enumerate(curves.values()):
        again, which = divmod(number, len(COLOURS))  # in the second round a colour has the next one's dashes
        colour, dashes = COLOURS[which], DASHES[(which + again) % len(DASHES)]
        for axes, mean, halfwidth in (
            (iterate, curve.iterate, curve.iterate_halfwidth),
            (regret, curve.regret, curve.regret_halfwidth),
        ):
            (line,) = axes.plot(curve.at, mean, color=colour, linestyle=dashes)
            alone = _alone(mean)
            axes.plot(curve.at[alone], mean[alone], color=colour, linestyle="", marker="o", markersize=4)
            if halfwidth is not None:
                axes.fill_between(curve.at, mean - halfwidth, mean + halfwidth, color=colour, alpha=0.2, linewidth=0)
        lines.append(line)
    regrets = np.concatenate([curve.regret for curve in curves.values()])
    regrets = regrets[np.isfinite(regrets)]
    if len(regrets) and regrets.min() > 0 and regrets.max() > 10 * regrets.min():
        regret.set_yscale("log")
    elif np.all(regrets >= 0):
        regret.set_ylim(bottom=0)
    else:
        regret.axhline(0, color="0.4", linewidth=0.8)
    return dict(zip(curves, lines, strict=True))


def _alone(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where a number has none on either side, so that no line shows it."""
    there = np.concatenate([[False], np.isfinite(numbers), [False]])
    alone: NDArray[np.bool_] = there[1:-1] & ~there[:-2] & ~there[2:]
    return alone


def _legend(figure: Figure, axes: Axes, lines: Mapping[str, Line2D]) -> None:
    """Name the lines in the axes, or below them where names are long."""
    numbers = [str(number) for number in range(len(lines))]  # a name that begins with "_" would be left out
    if max(map(len, lines)) <= LONGEST_NAME_INSIDE:
        legend = axes.legend(lines.values(), numbers)
    else:
        columns = math.ceil(figure.get_figwidth() / 9)
        legend = figure.legend(lines.values(), numbers, loc="outside lower center", ncols=columns)
    for text, name in zip(legend.get_texts(), lines, strict=True):
        text.set_text(name)
        text.set_parse_math(False)


def _mark_optimum(axes: Axes, problem: Problem) -> None:
    """A line at x*; and the whole interval, where it is bounded."""
    low, high = problem.interval
    axes.axhline(problem.optimum, color="0.4", linewidth=0.8, linestyle=":")
    axes.annotate(
        rf"$x^* = {problem.optimum:g}$",
        (0.02, problem.optimum),
        xycoords=("axes fraction", "data"),
        xytext=(0, -12 if problem.optimum == high else 4),
        textcoords="offset points",
        color="0.3",
    )
    if np.isfinite(high - low):
        margin = 0.08 * (high - low)
        axes.set_ylim(low - margin, high + margin)
