"""The logged points of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Trace:
    """Columns of equal length n, a row for each logged step.

    Attributes:
        step: t, counted from 0; int64.
        loss: f_t(x_t) − f_t(x*); float64.
        x: x_t, the iterate at which the loss was taken; float64.
        regret: the average regret R(T)/T with T = t + 1; float64.
    """

    step: NDArray[np.int64]
    loss: NDArray[np.float64]
    x: NDArray[np.float64]
    regret: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.step)

    def first(self, rows: int) -> Trace:
        """The first so many rows."""
        return Trace(self.step[:rows], self.loss[:rows], self.x[:rows], self.regret[:rows])

    def since(self, step: int) -> Trace:
        """The rows of this step and later ones."""
        rows = slice(int(np.searchsorted(self.step, step)), None)
        return Trace(self.step[rows], self.loss[rows], self.x[rows], self.regret[rows])

    def spread(self, rows: int) -> Trace:
        """At most so many rows, evenly spread over log t."""
        if len(self) <= rows:
            return self
        at = np.geomspace(self.step[0] + 1, self.step[-1] + 1, rows)
        chosen = np.unique(np.searchsorted(self.step + 1, at).clip(max=len(self) - 1))
        return Trace(self.step[chosen], self.loss[chosen], self.x[chosen], self.regret[chosen])

    @classmethod
    def concatenate(cls, traces: Sequence[Trace]) -> Trace:
        """One trace of all the rows, in order; of no rows where there is no trace."""
        return cls(
            np.concatenate([np.empty(0, np.int64), *(trace.step for trace in traces)]),
            np.concatenate([np.empty(0), *(trace.loss for trace in traces)]),
            np.concatenate([np.empty(0), *(trace.x for trace in traces)]),
            np.concatenate([np.empty(0), *(trace.regret for trace in traces)]),
        )


@dataclass(frozen=True, eq=False)
class LaneTraces:
    """The logged points of many runs at the same steps: ``step`` of shape (points,), the rest (points, lanes)."""

    step: NDArray[np.int64]
    loss: NDArray[np.float64]
    x: NDArray[np.float64]
    regret: NDArray[np.float64]

    def of(self, lane: int) -> Trace:
        """One lane's."""
        return Trace(self.step, self.loss[:, lane], self.x[:, lane], self.regret[:, lane])


def logged_steps(start: int, stop: int, log_every: int) -> NDArray[np.int64]:
    """The steps start ≤ t < stop with (t + 1) mod log_every = 0."""
    steps = range(start + (-start - 1) % log_every, stop, log_every)
    return steps.start + log_every * np.arange(len(steps))  # np.arange counts in doubles: wrong past 2^53
