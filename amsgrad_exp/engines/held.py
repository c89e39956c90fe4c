"""Defines batches of runs with a fixed iterate, which measure how far an optimizer would move in each step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Slopes = tuple[int, ...]


class HeldLanes(ABC):
    """One optimizer on a batch of periodic sequences of slopes; after every step, x is reset to its fixed value.

    The losses are linear, so gradients do not depend on x. Updates do not either, unless the update itself uses x, like
    weight decay. Everything is float64.

    Args:
        sequences: the slopes of one period for each run, of any length.
        held: the fixed iterate of each run, (lanes,).

    Attributes:
        step: t, the number of steps taken by every run.
    """

    def __init__(self, sequences: Sequence[Slopes], held: Floats) -> None:
        self.step = 0
        self._held = np.asarray(held, np.float64)

    def __len__(self) -> int:
        return len(self._held)

    @abstractmethod
    def advance(self, stop: int, begin: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Take the steps up to, not including, ``stop``.

        Args:
            stop: more than `step`.
            begin, end: for each run, the first step to sum over and the first step after those, (lanes,).

        Returns:
            Σu and Σ|u| of each run over the steps begin ≤ t < end, where u_t = x_t − x_{t+1}; (lanes,) each. The sums
            are not finite if x was not.

        Raises:
            RunFailed: the optimizer raised an exception, or x was finite in no run; the message names the step.
        """
