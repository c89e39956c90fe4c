"""Figures: the only module that imports matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from amsgrad_exp.problems.base import Problem
from amsgrad_exp.records.files import write_atomically
from amsgrad_exp.trace import Trace

# Okabe and Ito's colours, told apart by colour-blind readers, each with its own dashes for print.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)), (0, (1, 1)), (0, (8, 3)))

STYLE: Any = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "mathtext.fontset": "cm",
    "svg.fonttype": "path",
    "svg.hashsalt": "amsgrad-exp",
}


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
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        regret, iterate = figure.subplots(1, 2)
        for number, (name, trace) in enumerate(traces.items()):
            look: Any = {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]}
            shown = trace.spread(1000)
            regret.plot(shown.step + 1, shown.regret, label=name, **look)
            iterate.plot(shown.step + 1, shown.x, label=name, **look)
            for axes, mean, halfwidth in (
                (regret, shown.regret, shown.regret_halfwidth),
                (iterate, shown.x, shown.x_halfwidth),
            ):
                if halfwidth is not None:
                    band = (mean - halfwidth, mean + halfwidth)
                    axes.fill_between(shown.step + 1, *band, color=look["color"], alpha=0.2, linewidth=0)
        _regret_axes(regret, traces)
        iterate.axhline(problem.optimum, color="0.4", linewidth=0.8, linestyle=":")
        iterate.annotate(
            rf"$x^* = {problem.optimum:g}$",
            (0.02, problem.optimum),
            xycoords=("axes fraction", "data"),
            xytext=(0, 4 if problem.optimum == problem.low else -12),
            textcoords="offset points",
            color="0.3",
        )
        margin = 0.08 * (problem.high - problem.low)
        iterate.set_ylim(problem.low - margin, problem.high + margin)
        iterate.set_ylabel("iterate $x_t$")
        for axes in (regret, iterate):
            axes.set_xscale("log")
            axes.set_xlabel("step $t$")
        regret.legend()
        return _save(figure, path)


def _regret_axes(axes: Axes, traces: Mapping[str, Trace]) -> None:
    """A logarithmic axis where all average regrets are positive and far apart."""
    axes.set_ylabel("average regret $R(t)/t$")
    regrets = np.concatenate([trace.regret for trace in traces.values()])
    if np.all(regrets > 0) and len(regrets) and regrets.max() > 10 * regrets.min():
        axes.set_yscale("log")
    elif np.all(regrets >= 0):
        axes.set_ylim(bottom=0)
    else:
        axes.axhline(0, color="0.4", linewidth=0.8)


# Where the iterates settled: what an area of cells is called in a picture.
NAMES = {"optimum": "optimum", "worst": "worst point", "between": "between"}


@dataclass(frozen=True)
class Panel:
    """One optimizer's plane.

    Attributes:
        title: its name.
        mean_x: the mean iterate of each cell, float64 of shape (first axis, second axis); NaN where a cell failed.
        iterate: where each cell's iterates settled, of the same shape.
        boundary: the first axis, the second, and the drift at (second, first), or None where none is known.
    """

    title: str
    mean_x: NDArray[np.float64]
    iterate: NDArray[np.object_]
    boundary: tuple[NDArray[np.float64], ...] | None


def phase_diagram(
    path: Path, axes: Mapping[str, Sequence[float]], panels: Sequence[Panel], low: float, high: float
) -> list[Path]:
    """Heat maps of the mean iterate over a plane, labelled by verdict, with the analytic boundary over them.

    Args:
        path: without a suffix; ``.png`` and ``.svg`` are added.
        axes: two names and their values.
        panels: one for each optimizer.
        low, high: the interval, for the colours.

    Returns:
        The files written.
    """
    (name_x, values_x), (name_y, values_y) = axes.items()
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(1.4 + 4.4 * len(panels), 4.2), layout="constrained")
        all_axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for plane, panel in zip(all_axes, panels, strict=True):
            colours = plane.pcolormesh(
                values_x,
                values_y,
                panel.mean_x.T,
                cmap="PuOr_r",
                vmin=low,
                vmax=high,
                shading="nearest",
                rasterized=True,
            )
            _label_areas(plane, values_x, values_y, panel.iterate)
            if panel.boundary is not None:
                plane.contour(*panel.boundary, levels=[0.0], colors="black", linewidths=1.2)
                plane.plot([], [], color="black", linewidth=1.2, label="boundary by theory")
                plane.legend(loc="lower left", frameon=True, framealpha=0.9, fontsize=8)
            plane.set_title(panel.title)
            _scale(plane.xaxis, name_x, values_x)
            _scale(plane.yaxis, name_y, values_y)
        all_axes[0].set_ylabel(SYMBOLS.get(name_y, name_y))
        figure.colorbar(colours, ax=all_axes, label="mean iterate over the last tenth")
        return _save(figure, path)


def profile(path: Path, name: str, values: Sequence[float], columns: Mapping[str, Mapping[str, Any]]) -> list[Path]:
    """Average regret and mean iterate along one axis, a line for each optimizer.

    Args:
        path: without a suffix; ``.png`` and ``.svg`` are added.
        name, values: the axis.
        columns: by optimizer, the arrays ``regret`` and ``mean_x``, float64 of the axis's length.

    Returns:
        The files written.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        regret, iterate = figure.subplots(1, 2)
        for number, (optimizer, column) in enumerate(columns.items()):
            look: Any = {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]}
            regret.plot(values, column["regret"], label=optimizer, **look)
            iterate.plot(values, column["mean_x"], **look)
        regrets = np.concatenate([column["regret"] for column in columns.values()])
        if np.nanmin(regrets) > 0:
            regret.set_yscale("log")
        regret.set_ylabel("average regret $R(T)/T$")
        iterate.set_ylabel("mean iterate over the last tenth")
        for axes in (regret, iterate):
            _scale(axes.xaxis, name, values)
        regret.legend()
        return _save(figure, path)


SYMBOLS = {"lr": r"step size $\alpha$", "beta1": r"$\beta_1$", "beta2": r"$\beta_2$", "eps": r"$\epsilon$", "C": "$C$"}


def _scale(axis: Axis, name: str, values: Sequence[float]) -> None:
    """Label an axis, and space it as its values are: evenly, in the logarithm, or in the logarithm of 1 − value."""
    axis.set_label_text(SYMBOLS.get(name, name))
    numbers = np.asarray(values)
    if len(numbers) > 2 and np.all(numbers > 0) and _even(np.log(numbers)):
        axis._set_axes_scale("log")  # type: ignore[attr-defined]
    elif len(numbers) > 2 and np.all(numbers < 1) and not _even(numbers) and _even(np.log(1 - numbers)):
        decades = 1 - 10.0 ** -np.arange(20)
        functions = (lambda value: -np.log10(np.maximum(1 - value, 1e-300)), lambda height: 1 - 10.0**-height)
        axis._set_axes_scale("function", functions=functions)  # type: ignore[attr-defined]
        axis.set_ticks([tick for tick in (0.5, *decades) if numbers.min() <= tick <= numbers.max()])
        axis.set_major_formatter("{x:.12g}")


def _even(numbers: NDArray[np.float64]) -> bool:
    gaps = np.diff(numbers)
    return bool(np.allclose(gaps, gaps[0], rtol=1e-6, atol=0))


def _label_areas(axes: Axes, xs: Sequence[float], ys: Sequence[float], iterate: NDArray[np.object_]) -> None:
    """Write the name of each verdict in the middle of its cells."""
    for verdict, name in NAMES.items():
        columns, rows = np.nonzero(iterate == verdict)
        if len(columns) < 0.02 * iterate.size:
            continue
        middle = np.argmin((columns - np.median(columns)) ** 2 + (rows - np.median(rows)) ** 2)
        text = axes.annotate(name, (xs[columns[middle]], ys[rows[middle]]), ha="center", va="center")
        text.set_path_effects([withStroke(linewidth=3, foreground="white", alpha=0.8)])


def _save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG and SVG, the same bytes each time."""
    files = [path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")]
    for file, options in zip(files, ({"dpi": 200}, {"metadata": {"Date": None}}), strict=True):
        content = io.BytesIO()
        figure.savefig(content, format=file.suffix[1:], **options)  # type: ignore[arg-type]
        write_atomically(file, content.getvalue())
    return files
