"""Prints the table and draws the figure of a sweep or a gauntlet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.output import console, matrix
from amsgrad_exp.output.figures import Panel, draw_matrix, phase_diagram, profile
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.spec.grid import Sweep
from amsgrad_exp.sweeps.matrix import verdicts
from amsgrad_exp.sweeps.plane import boundary
from amsgrad_exp.sweeps.run import Swept
from amsgrad_exp.sweeps.store import Results


def show(swept: Swept, results: Results) -> None:
    """Print where the cells settle."""
    if isinstance(swept.sweep, Gauntlet):
        matrix.show(verdicts(swept.sweep, results))
    elif isinstance(swept.sweep, Sweep):
        console.sweep_table(swept.sweep, results, results.counts())


def draw(swept: Swept) -> list[Path]:
    """Draw where the cells settle, as PNG and SVG in the directory.

    Returns:
        The files written: none if all cells failed or the sweep has more than two axes.

    Raises:
        RunError: the results cannot be read.
        OSError: the figure cannot be written.
    """
    if isinstance(swept.sweep, Gauntlet):
        with swept.results() as results:
            return draw_matrix(swept.directory / "gauntlet", verdicts(swept.sweep, results))
    return _draw_axes(swept, swept.sweep) if isinstance(swept.sweep, Sweep) else []


def _draw_axes(swept: Swept, sweep: Sweep) -> list[Path]:
    """Draw where the cells of a sweep with one or two axes settle."""
    mean_x, iterate, regret = (swept.column(name) for name in ("mean_x", "iterate", "regret"))
    if len(sweep.axes) > 2 or np.all(np.isnan(mean_x)):
        return []
    if len(sweep.axes) == 1:
        ((name, values),) = sweep.axes.items()
        columns = {
            optimizer: {"regret": regret[number], "mean_x": mean_x[number]}
            for number, optimizer in enumerate(sweep.optimizers)
        }
        return profile(swept.directory / "profile", name, values, columns)
    panels = [
        Panel(optimizer, mean_x[number], iterate[number], boundary(sweep, optimizer))
        for number, optimizer in enumerate(sweep.optimizers)
    ]
    return phase_diagram(swept.directory / "phase", sweep.axes, panels, *interval(sweep, mean_x))


def interval(sweep: Sweep, mean_x: NDArray[np.float64]) -> tuple[float, float]:
    """The lowest and the highest end of the cells' intervals, or of their mean iterates if x is unbounded."""
    lows, highs = zip(*{trial.problem.interval for trial in sweep.representatives()}, strict=True)
    low, high = min(lows), max(highs)
    return (
        low if np.isfinite(low) else float(np.nanmin(mean_x)),
        high if np.isfinite(high) else float(np.nanmax(mean_x)),
    )
