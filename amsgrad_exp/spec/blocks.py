"""Divides the cells of a sweep into blocks, each of which one worker computes as a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp import engines

if TYPE_CHECKING:
    from amsgrad_exp.spec.grid import Sweep

LANES = 256
DECAY_RATES = ("beta1", "beta2")


def blocks(sweep: Sweep, done: NDArray[np.bool_]) -> Iterator[list[int]]:
    """Blocks of the unfinished cells; the cells of a block can run as a batch and take about the same time."""
    cells = np.flatnonzero(~done)
    optimizer, *_ = np.unravel_index(cells, sweep.shape)
    compiled = np.array([engines.compiles(trial) for trial in sweep.example.trials()])[optimizer]
    if compiled.any():
        yield from _compiled(sweep, cells[compiled])
    yield from ([cell] for cell in cells[~compiled].tolist())


def _compiled(sweep: Sweep, cells: NDArray[np.int64]) -> Iterator[list[int]]:
    optimizer, *positions = np.unravel_index(cells, sweep.shape)
    at = dict(zip(sweep.axes, positions, strict=True))
    slowest = np.zeros(len(cells))  # the larger a decay rate, the later the state repeats
    for name in set(DECAY_RATES) & set(at):
        slowest = np.maximum(slowest, np.array(sweep.axes[name])[at[name]])
    order = np.lexsort((slowest, *(at[name] for name in sweep.parting_axes), optimizer))
    for begin in range(0, len(order), LANES):
        yield cells[order[begin : begin + LANES]].tolist()
