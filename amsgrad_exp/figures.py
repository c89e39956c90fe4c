"""Figures: the only module that imports matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amsgrad_exp.problems import Problem
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
        files = [path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")]
        figure.savefig(files[0], dpi=200)
        figure.savefig(files[1], metadata={"Date": None})
    return files


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
