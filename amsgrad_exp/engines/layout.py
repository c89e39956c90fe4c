"""The coefficients of many problems, or of many seeds of one, as a loop over lanes reads them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.problems import Problem

Floats = NDArray[np.floating[Any]]

MAX_LAID_OUT = 1_048_576  # numbers of a problem's coefficient laid out at once, where lanes have problems of their own
KEPT = 8  # of those layouts, for lanes of other rules that take the same steps: 4 MB each in float32
DRAWN = 8192  # steps of a problem's coefficients asked for at once: larger arrays cost more to allocate than to fill


@dataclass(frozen=True, eq=False)
class Layout:
    """Which sequence of losses each lane has, padding included.

    Attributes:
        sequences: problems and seeds.
        which: of those, each lane has.
    """

    sequences: tuple[tuple[Problem, int], ...]
    which: tuple[int, ...]


layout_of = functools.lru_cache(KEPT)(Layout)  # one object for lanes of other rules, by which what is laid out is found


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
