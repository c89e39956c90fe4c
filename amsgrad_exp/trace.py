"""The logged points of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Rows = slice | NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Trace:
    """Columns of equal length n, a row for each logged step; float64 but for ``step``.

    Of many runs logged at the same steps, all columns but ``step`` are of shape (n, lanes).

    Attributes:
        step: t, counted from 0; int64.
        loss: f_t(x_t) − f_t(x*).
        x: x_t, the iterate at which the loss was taken.
        regret: the average regret R(T)/T with T = t + 1.
        x_halfwidth, regret_halfwidth: where loss, x and regret are means over seeds, half the width of the 95 %
            confidence intervals of x and regret; None where there is one seed.
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
        """The columns that there are, by name, ``step`` first."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: column for name, column in named.items() if column is not None}

    def rows(self, rows: Rows) -> Trace:
        """Some of the rows."""
        return Trace(**{name: column[rows] for name, column in self.columns.items()})  # type: ignore[arg-type]

    def since(self, step: int) -> Trace:
        """The rows of this step and later ones."""
        return self.rows(slice(int(np.searchsorted(self.step, step)), None))

    def spread(self, rows: int) -> Trace:
        """At most so many rows, evenly spread over log t."""
        if len(self) <= rows:
            return self
        at = np.geomspace(self.step[0] + 1, self.step[-1] + 1, rows)
        return self.rows(np.unique(np.searchsorted(self.step + 1, at).clip(max=len(self) - 1)))

    def lanes(self, lanes: int | NDArray[np.int64]) -> Trace:
        """The points of one lane, of shape (n,), or of some, (n, lanes)."""
        return Trace(self.step, self.loss[:, lanes], self.x[:, lanes], self.regret[:, lanes])

    @classmethod
    def empty(cls, shape: tuple[int, ...] = (0,)) -> Trace:
        """A trace of no rows."""
        return cls(np.empty(0, np.int64), np.empty(shape), np.empty(shape), np.empty(shape))

    @classmethod
    def concatenate(cls, traces: Sequence[Trace]) -> Trace:
        """One trace of all the rows, in order; of no rows where no trace has any."""
        filled = [trace.columns for trace in traces if len(trace)] or [
            traces[0].columns if traces else cls.empty().columns
        ]
        return cls(**{name: np.concatenate([columns[name] for columns in filled]) for name in filled[0]})


def logged_steps(start: int, stop: int, log_every: int) -> NDArray[np.int64]:
    """The steps start ≤ t < stop with (t + 1) mod log_every = 0."""
    steps = range(start + (-start - 1) % log_every, stop, log_every)
    return steps.start + log_every * np.arange(len(steps))  # np.arange counts in doubles: wrong past 2^53
