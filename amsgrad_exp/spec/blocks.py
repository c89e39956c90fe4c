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
TORCH_LANES = 2048  # updating this many elements takes hardly longer than updating one
LOGGED = 2_097_152  # points of a torch batch that are held in memory, 24 bytes each
DECAY_RATES = ("beta1", "beta2")


def blocks(sweep: Sweep, done: NDArray[np.bool_]) -> Iterator[list[int]]:
    """Blocks of the unfinished cells; the cells of a block can run as a batch and take about the same time."""
    cells = np.flatnonzero(~done)
    optimizer, *_ = np.unravel_index(cells, sweep.shape)
    torch = np.array([engines.choose(trial) == "torch" for trial in sweep.example.trials()])[optimizer]
    if not torch.all():
        yield from _compiled(sweep, cells[~torch])
    if torch.any():
        yield from _torch(sweep, cells[torch])


def _compiled(sweep: Sweep, cells: NDArray[np.int64]) -> Iterator[list[int]]:
    optimizer, *positions = np.unravel_index(cells, sweep.shape)
    at = dict(zip(sweep.axes, positions, strict=True))
    slowest = np.zeros(len(cells))  # the larger a decay rate, the later the state repeats
    for name in set(DECAY_RATES) & set(at):
        slowest = np.maximum(slowest, np.array(sweep.axes[name])[at[name]])
    order = np.lexsort((slowest, *(at[name] for name in sweep.parting_axes), optimizer))
    for begin in range(0, len(order), LANES):
        yield cells[order[begin : begin + LANES]].tolist()


def _torch(sweep: Sweep, cells: NDArray[np.int64]) -> Iterator[list[int]]:
    """Blocks of one optimizer with the same settings, because a torch parameter has only one choice of them."""
    optimizer, *positions = np.unravel_index(cells, sweep.shape)
    own = [at for at, target in zip(positions, sweep.targets.values(), strict=True) if target.of != "problem"]
    _, part = np.unique(np.stack([optimizer, *own]), axis=1, return_inverse=True)
    part = part.reshape(-1)
    order = np.argsort(part, kind="stable")
    lanes = max(LANES, min(TORCH_LANES, LOGGED // (sweep.example.steps // sweep.example.log_every)))
    for block in np.split(cells[order], np.flatnonzero(np.diff(part[order])) + 1):
        for begin in range(0, len(block), lanes):
            yield block[begin : begin + lanes].tolist()
