"""A counterexample: its slopes over one period as bars; in a file also where the iterate goes, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amsgrad_exp.attacks.result import Counterexample
from amsgrad_exp.charts.curves import Level
from amsgrad_exp.charts.draw import draw
from amsgrad_exp.charts.plot import Plot, Specification, as_csv, named_data
from amsgrad_exp.charts.style import COLOURS, OF_PAGES
from amsgrad_exp.charts.traces import ON_FILES, Curve, plot, table
from amsgrad_exp.charts.traces import TABLE as POINTS

TABLE = "slopes"
BAR = COLOURS[1]
MARGIN = 0.06  # above and below the bars, relative to the height
MOST_LABELLED = 8  # different slopes, including 0
SCHEDULES = {"inv-sqrt": "step sizes α/√t", "constant": "constant step size α"}


def counterexample(path: Path, found: Counterexample) -> list[Path]:
    """Draw one period of the slopes, and iterate and average regret from x* with either kind of step sizes.

    Args:
        path: without a suffix; ``.png`` and ``.svg`` are added.
        found: confirmed or not, with a run.

    Returns:
        The files written.
    """
    runs = {name: found.run(schedule) for schedule, name in SCHEDULES.items()}
    shown = [Curve(name, run.trace.spread(ON_FILES), run.trial.problem) for name, run in runs.items() if run]
    worst = 2 * abs(float(np.mean(found.slopes)))  # f_t(x) − f_t(x*) on average at the other end of [−1, 1]
    at_worst = Level(worst, "R(t)/t at the worst point", label="at the worst point", below=True, right=True)
    lines = plot(shown, log=False, alternative="", levels=[at_worst], right=True)
    bars = slopes_plot(found.slopes, found.words).specification["concat"]
    panels = [{**panel, "height": 280} for panel in (*bars, *lines.specification["concat"])]
    title = {"text": f"Slopes over one period: {found.words}", "offset": 12, "limit": 0}
    both = {**lines.specification, "title": title, "concat": panels, "columns": len(panels)}
    tables = {POINTS: table(shown), TABLE: slopes_table(found.slopes)}
    return draw(path, Plot(TABLE, "", both, "", len(panels), lines.legend), tables)


def slopes_table(slopes: Sequence[int]) -> str:
    """The slopes as CSV."""
    return as_csv(["t", "slope"], enumerate(slopes))


def slopes_plot(slopes: Sequence[int], words: str) -> Plot:
    """The slopes over one period, as bars on an axis that shows 1 and −1000 alike.

    Args:
        slopes: of each step.
        words: the same in words.
    """
    different = {*slopes, 0}
    labelled = different if len(different) <= MOST_LABELLED else {min(different), 0, max(different)}
    domain = _beyond(min(different), max(different))
    steps = {"format": ",d", "tickMinStep": 1, "tickCount": 8, "labelFlush": False, "labelSeparation": 6}
    values = sorted(labelled, key=abs, reverse=True)  # 0 yields to the others
    bars: Specification = {
        "mark": {"type": "bar", "color": BAR, "stroke": BAR, "strokeWidth": 1, "aria": False},  # visible however narrow
        "encoding": {
            "x": _number("t", "step t of one period", {"domain": [0, len(slopes)], "nice": False}, steps),
            "x2": {"field": "end"},
            "y": _number(
                "slope", None, {"type": "symlog", "domain": domain, "nice": False}, {"values": values, "format": ",d"}
            ),
            "y2": {"datum": 0},
            "tooltip": [{"field": name, "type": "nominal"} for name in ("t", "slope")],
        },
    }
    panel = {
        "title": "slope s of the loss f(x) = s·x",
        "height": 200,
        "data": named_data(TABLE, {"t", "slope"}),
        "transform": [{"calculate": "datum.t + 1", "as": "end"}],
        "layer": [bars],
    }
    alternative = f"One period of the problem, {len(slopes):,} steps: {words}."
    specification = {"concat": [panel], "columns": 1, "config": OF_PAGES}
    return Plot(TABLE, "The counterexample", specification, alternative, 1)


def _number(field: str, title: str | None, scale: dict[str, Any], axis: dict[str, Any]) -> Specification:
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _beyond(low: int, high: int) -> list[float]:
    """A domain with a margin on either side, as the scale sees it: symlog is sign(s)·log(1 + |s|)."""
    ends = np.sign([low, high]) * np.log1p(np.abs([low, high]))
    ends += MARGIN * (ends[1] - ends[0]) * np.array([-1, 1])
    wider: list[float] = (np.sign(ends) * np.expm1(np.abs(ends))).tolist()
    return wider
