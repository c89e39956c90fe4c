"""Lays out the coefficients of many problems or seeds in memory, as a loop over a batch of runs reads them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.problems import Problem

Floats = NDArray[np.floating[Any]]

MAX_LAID_OUT = 1_048_576  # numbers of one coefficient laid out at once, if runs have different problems
KEPT = 8  # cached layouts, 4 MB each in float32, for batches of other rules that take the same steps
DRAWN = 8192  # steps whose coefficients are requested at once: larger arrays take longer to allocate than to fill


@dataclass(frozen=True, eq=False)
class Layout:
    """Which sequence of losses each run of a padded batch has.

    Attributes:
        sequences: pairs of problem and seed.
        which: the index of each run's sequence.
    """

    sequences: tuple[tuple[Problem, int], ...]
    which: tuple[int, ...]


layout_of = functools.lru_cache(KEPT)(Layout)  # equal layouts are one object, the key of `laid_out`'s cache


@functools.lru_cache(KEPT)
def laid_out(layout: Layout, start: int, stop: int, dtype: np.dtype[Any]) -> Floats:
    """The coefficients of steps start ≤ t < stop as the loop reads them, (coefficients, steps, lanes)."""
    sequences, which = layout.sequences, layout.which
    rows = np.empty((len(sequences[0][0].coefficients(start, start + 1)), stop - start, len(which)), dtype)
    for begin in range(start, stop, DRAWN):
        end = min(begin + DRAWN, stop)
        drawn = np.array([problem.coefficients(begin, end, seed).astype(dtype) for problem, seed in sequences])
        rows[:, begin - start : end - start] = drawn.transpose(1, 2, 0)[:, :, which]
    return rows
