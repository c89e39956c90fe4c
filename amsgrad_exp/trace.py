"""Holds the logged points of a run as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Trace:
    """Columns of equal length n with one row per logged step; float64 of shape (n,) except ``step``.

    For a batch of runs logged at the same steps, all columns except ``step`` have shape (n, runs).

    Attributes:
        step: t, counted from 0; int64.
        loss: the instantaneous regret f_t(x_t) − f_t(x*).
        x: the iterate x_t at which the loss was evaluated.
        regret: the average regret R(T)/T with T = t + 1.
        x_halfwidth, regret_halfwidth: if loss, x and regret are means over seeds, half the width of the 95 %
            confidence intervals of x and regret; None for a single seed.
    """

    step: NDArray[np.int64]
    loss: NDArray[np.float64]
    x: NDArray[np.float64]
    regret: NDArray[np.float64]
    x_halfwidth: NDArray[np.float64] | None = None
    regret_halfwidth: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.step)

    @property
    def columns(self) -> dict[str, NDArray[np.float64]]:
        """The columns that are not None, by name, ``step`` first."""
        return {name: column for name, column in vars(self).items() if column is not None}

    def rows(self, rows: slice | NDArray[np.int64]) -> Trace:
        """The given rows."""
        return Trace(**{name: column[rows] for name, column in self.columns.items()})  # type: ignore[arg-type]

    def since(self, step: int) -> Trace:
        """The rows from this step on."""
        return self.rows(slice(int(np.searchsorted(self.step, step)), None))

    def spread(self, rows: int) -> Trace:
        """At most ``rows`` rows, evenly spaced in log t."""
        if len(self) <= rows:
            return self
        at = np.geomspace(self.step[0] + 1, self.step[-1] + 1, rows)
        return self.rows(np.unique(np.searchsorted(self.step + 1, at).clip(max=len(self) - 1)))

    def runs(self, which: int | NDArray[np.int64]) -> Trace:
        """The points of one run of the batch, of shape (n,), or of several, of shape (n, runs)."""
        return Trace(self.step, self.loss[:, which], self.x[:, which], self.regret[:, which])

    @classmethod
    def empty(cls, shape: tuple[int, ...] = (0,)) -> Trace:
        """A trace without rows."""
        return cls(np.empty(0, np.int64), np.empty(shape), np.empty(shape), np.empty(shape))

    @classmethod
    def concatenate(cls, traces: Sequence[Trace]) -> Trace:
        """One trace with the rows of all, in order."""
        filled = [trace.columns for trace in traces if len(trace)] or [
            traces[0].columns if traces else cls.empty().columns
        ]
        return cls(**{name: np.concatenate([columns[name] for columns in filled]) for name in filled[0]})


def logged_steps(start: int, stop: int, log_every: int) -> NDArray[np.int64]:
    """The steps start ≤ t < stop with (t + 1) mod log_every = 0."""
    steps = range(start + (-start - 1) % log_every, stop, log_every)
    return steps.start + log_every * np.arange(len(steps))  # np.arange with a step is wrong beyond 2^53
