"""A counterexample: its slopes, where the iterate goes, what that costs."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from amsgrad_exp.attack.result import Counterexample
from amsgrad_exp.output.figures.style import COLOURS, DASHES, STYLE, save

SCHEDULES = {"inv-sqrt": r"$\alpha/\sqrt{t}$", "constant": r"constant $\alpha$"}


def counterexample(path: Path, found: Counterexample) -> list[Path]:
    """One period of the slopes; iterate and average regret from x*, with step sizes α/√t and with a constant one.

    Args:
        path: without a suffix; ``.png`` and ``.svg`` are added.
        found: confirmed or not, with a run.

    Returns:
        The files written.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 3.4), layout="constrained")
        slopes, iterate, regret = figure.subplots(1, 3)
        steps = np.arange(len(found.slopes))
        slopes.vlines(steps, 0, found.slopes, color="0.3", linewidth=min(4.0, 150 / len(steps)))
        slopes.axhline(0, color="0.4", linewidth=0.8)
        slopes.set_xlabel("step of the period")
        slopes.set_ylabel("slope")
        slopes.xaxis.set_major_locator(MaxNLocator(integer=True))
        slopes.set_title(_short(found.words), fontsize=9, parse_math=False)
        for number, (schedule, name) in enumerate(SCHEDULES.items()):
            run = found.run(schedule)
            if run is None:
                continue
            trace = run.trace.spread(1000)
            style = {"color": COLOURS[number], "linestyle": DASHES[number], "label": name}
            iterate.plot(trace.step + 1, trace.x, **style)
            regret.plot(trace.step + 1, trace.regret, **style)
        for axes in (iterate, regret):
            axes.set_xscale("log")
            axes.set_xlabel("step $t$")
        iterate.axhline(found.optimum, color="0.4", linewidth=0.8, linestyle=":")
        _name(iterate, rf"$x^* = {found.optimum:g}$", found.optimum, below=found.optimum > 0)
        iterate.set_ylim(-1.16, 1.16)
        iterate.set_ylabel("iterate $x_t$")
        paid = 2 * abs(float(np.mean(found.slopes)))  # of each step at the worst end, the other end of [−1, 1]
        regret.axhline(paid, color="0.4", linewidth=0.8, linestyle=":")
        _name(regret, "at the worst end", paid, below=True)
        regret.set_ylabel("average regret $R(t)/t$")
        regret.set_ylim(bottom=min(0.0, regret.get_ylim()[0]))
        iterate.legend()
        return save(figure, path)


def _name(axes: Axes, name: str, at: float, *, below: bool) -> None:
    """Write beside a horizontal line what it is, on the right, where curves have left x*."""
    axes.annotate(
        name,
        (0.98, at),
        xycoords=("axes fraction", "data"),
        xytext=(0, -12 if below else 4),
        textcoords="offset points",
        ha="right",
        color="0.3",
    )


def _short(words: str) -> str:
    return words if len(words) <= 60 else f"{words[:58]}…"
