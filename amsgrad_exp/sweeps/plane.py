"""Computes the drift over a sweep's plane; its zero contour is the theoretical boundary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.spec.read import SETTINGS
from amsgrad_exp.spec.sweep import Sweep
from amsgrad_exp.theory import drift


def boundary(sweep: Sweep, optimizer: str) -> tuple[NDArray[np.float64], ...] | None:
    """The drift over a sweep's plane.

    Args:
        sweep: a sweep with two axes.
        optimizer: the label of one of its optimizers.

    Returns:
        The first axis, the second axis, and the drift at (second, first): float64 of shapes (points,), (points,) and
        (points, points), where points is 200, or 50 if neither axis is a setting. The drift is NaN where the problem is
        invalid or no steady state is known. None if it is NaN everywhere.
    """
    points = 200 if set(sweep.axes) & set(SETTINGS) else 50
    (name_x, values_x), (name_y, values_y) = sweep.axes.items()
    mesh_x, mesh_y = (
        _refined(values, points, whole=sweep.targets[name].kind is int)
        for name, values in ((name_x, values_x), (name_y, values_y))
    )
    mesh: dict[str, NDArray[np.float64]] = dict(zip((name_x, name_y), np.meshgrid(mesh_x, mesh_y), strict=True))
    drifts = np.full((points, points), np.nan)
    constants = np.stack([mesh[name] for name in mesh if name not in SETTINGS] or [np.zeros((points, points))])
    for combination in np.unique(constants.reshape(len(constants), -1), axis=1).T:
        where = np.all(constants == combination[:, None, None], axis=0)
        try:
            trial = sweep.at(optimizer, {name: float(mesh[name][where][0]) for name in mesh})
            beta1, beta2, eps = (
                mesh[name][where] if name in mesh else getattr(trial.optimizer, name)
                for name in ("beta1", "beta2", "eps")
            )
            drifts[where] = drift(trial.problem, trial.optimizer.name, beta1, beta2, eps, trial.optimizer.options)
        except ConfigError:  # an invalid problem, or no steady state
            continue
    return None if np.isnan(drifts).all() else (mesh_x, mesh_y, drifts)


def _refined(values: Sequence[float], points: int, *, whole: bool) -> NDArray[np.float64]:
    """A finer axis with the same range and spacing; integers stay integers."""
    at = np.linspace(0, len(values) - 1, points)
    refined = np.interp(at, np.arange(len(values)), values)
    return np.round(refined) if whole else refined


def interval(sweep: Sweep, mean_x: NDArray[np.float64]) -> tuple[float, float]:
    """The lowest and the highest end of the cells' intervals, or of their mean iterates if x is unbounded."""
    lows, highs = zip(*{trial.problem.interval for trial in sweep.representatives()}, strict=True)
    low, high = min(lows), max(highs)
    return (
        low if np.isfinite(low) else float(np.nanmin(mean_x)),
        high if np.isfinite(high) else float(np.nanmax(mean_x)),
    )
