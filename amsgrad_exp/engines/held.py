"""Many problems at once, with x held in place: how far an optimizer would move, step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Slopes = tuple[int, ...]


class HeldLanes(ABC):
    """One optimizer on many periodic sequences of slopes, a lane each; after every step x is put back where it was.

    Losses are linear, so that their slopes do not depend on x, and what an update moves does not either, unless the
    update itself looks at x, as weight decay does. All in float64.

    Args:
        sequences: each lane's slopes over one period, of any length.
        held: where each lane's x is held, (lanes,).

    Attributes:
        step: t, the number of steps taken by every lane.
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
            begin, end: of each lane, the first step that counts and the first one after it that does not, (lanes,).

        Returns:
            Σu and Σ|u| of each lane over steps begin ≤ t < end, u_t = x_t − x_{t+1} being the move of step t; (lanes,)
            each; not finite where x was not.

        Raises:
            RunFailed: the optimizer raised, or x was finite in no lane; the message names the step.
        """
