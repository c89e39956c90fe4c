"""The picture of a sweep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.output.figures import Panel, phase_diagram, profile
from amsgrad_exp.spec.grid import Sweep
from amsgrad_exp.sweeps.plane import boundary
from amsgrad_exp.sweeps.run import Swept


def draw(swept: Swept) -> list[Path]:
    """Draw where the cells of a sweep with one or two axes settle, PNG and SVG in its directory.

    Returns:
        The files written; none with more axes, or where no cell came to anything.

    Raises:
        RunError: the results cannot be read.
        OSError: the picture cannot be written.
    """
    sweep = swept.sweep
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
    """The lowest and the highest end of the cells' intervals; of their means where x is not bounded."""
    lows, highs = zip(*{trial.problem.interval for trial in sweep.representatives()}, strict=True)
    low, high = min(lows), max(highs)
    return (
        low if np.isfinite(low) else float(np.nanmin(mean_x)),
        high if np.isfinite(high) else float(np.nanmax(mean_x)),
    )
