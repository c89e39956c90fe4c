"""What an optimizer comes to over a plane of two settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from amsgrad_exp.output.figures.style import STYLE, edges, save, set_axis
from amsgrad_exp.verdict import WORDS, Verdict

FAILED = "0.7"  # the grey of cells without a result
SMALLEST_AREA = 0.02  # of a plane, for its name to be written on it


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
        low, high: the interval, for the colours; an infinite end follows the data.

    Returns:
        The files written.
    """
    (name_x, values_x), (name_y, values_y) = axes.items()
    with matplotlib.rc_context(STYLE | {"axes.grid": False, "axes.facecolor": FAILED}):
        figure = Figure(figsize=(1.4 + 4.4 * len(panels), 4.2), layout="constrained")
        planes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        colours = _colours(panels, low, high)
        for plane, panel in zip(planes, panels, strict=True):
            set_axis(plane.xaxis, plane.set_xscale, name_x, values_x)
            set_axis(plane.yaxis, plane.set_yscale, name_y, values_y)
            plane.label_outer()
            plane.set_title(panel.title, parse_math=False)
            borders = edges(values_x), edges(values_y)
            cells = plane.pcolormesh(*borders, panel.mean_x.T, cmap="PuOr_r", norm=colours, rasterized=True)
            _draw_boundary(plane, panel.boundary)
            _label_areas(plane, values_x, values_y, panel)
        figure.colorbar(cells, ax=planes, label="mean iterate over the last tenth")
        return save(figure, path)


def _colours(panels: Sequence[Panel], low: float, high: float) -> Normalize:
    """The range of the colours, the same in all panels."""
    means = np.concatenate([panel.mean_x[np.isfinite(panel.mean_x)] for panel in panels])
    if len(means):
        low = low if np.isfinite(low) else means.min()
        high = high if np.isfinite(high) else means.max()
    return Normalize(low, high) if np.isfinite(high - low) and low < high else Normalize()


def _draw_boundary(axes: Axes, boundary: tuple[NDArray[np.float64], ...] | None) -> None:
    """The zero contour of a drift, where it has one."""
    if boundary is None or not np.nanmin(boundary[2]) < 0 < np.nanmax(boundary[2]):
        return
    axes.contour(*boundary, levels=[0.0], colors="black", linewidths=1.2)
    axes.plot([], [], color="black", linewidth=1.2, label="boundary by theory")
    axes.legend(loc="lower left", frameon=True, framealpha=0.9, fontsize=8, facecolor="white")


def _label_areas(axes: Axes, xs: Sequence[float], ys: Sequence[float], panel: Panel) -> None:
    """Write what became of cells in the middle of those of which it is true."""
    areas = {WORDS[verdict][0]: panel.iterate == verdict for verdict in Verdict}
    areas["failed"] = np.isnan(panel.mean_x)
    for words, cells in areas.items():
        columns, rows = np.nonzero(cells)
        if len(columns) <= SMALLEST_AREA * cells.size:
            continue
        middle = np.argmin((columns - np.median(columns)) ** 2 + (rows - np.median(rows)) ** 2)
        text = axes.annotate(words, (xs[columns[middle]], ys[rows[middle]]), ha="center", va="center")
        text.set_path_effects([withStroke(linewidth=3, foreground="white", alpha=0.8)])
