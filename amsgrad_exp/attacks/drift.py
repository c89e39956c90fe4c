"""Measures the direction in which an optimizer drifts on a problem for a small step size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines.held import Floats, HeldLanes, Slopes
from amsgrad_exp.errors import RunFailed

MakeLanes = Callable[[Sequence[Slopes], Floats], HeldLanes]
"""Makes a batch of runs from sequences of slopes and the fixed iterates."""

LEAST_FALL = 1e-3  # least drift to the worst end; the sign of a smaller one may come from a decaying transient
LEAST_DRIFT = 1e-7  # least magnitude of a drift; the sign of a smaller one may come from rounding
CHANGE, CHANGE_BEFORE = 0.1, 0.3  # a settled drift changes at most by this in the last doubling of T, and the previous
SETTLED_SHARE = 0.97  # stop when this share of the problems has settled
FIRST_STEPS = 1024  # after which the first drift is measured
DOUBLINGS = 4  # of T, at most
PIECE = 2048  # steps between two calls of should_stop
WINDOW = 4  # the drift is measured over the whole periods within the last T/4 steps


@dataclass(frozen=True)
class Fall:
    """A problem on which the iterate goes to the worst end."""

    slopes: Slopes
    outward: float  # the part of all movement that leads to the worst end, in (0, 1]
    speed: float  # the mean size of an update
    steps: int  # T, after which this was measured

    @property
    def crossing(self) -> float:
        """P/outward: the number of steps in which x drifts as far as it moves in total within one period."""
        return len(self.slopes) / self.outward


@dataclass(frozen=True)
class Measured:
    """The measured drift of some problems; arrays are of shape (problems,)."""

    sequences: Sequence[Slopes]
    outward: Floats  # Σu/Σ|u| of the updates u over whole periods, positive towards the worst end, in [−1, 1]
    speed: Floats  # the mean of |u|, the size of an update
    settled: NDArray[np.bool_]  # the drift no longer changes with T, and is large enough to have a reliable sign
    steps: int  # T, the number of steps simulated

    def falls(self) -> list[Fall]:
        """The problems on which the optimizer goes to the worst end."""
        return [
            Fall(self.sequences[lane], float(self.outward[lane]), float(self.speed[lane]), self.steps)
            for lane in np.flatnonzero(self.settled & (self.outward > 0)).tolist()
        ]


def measure(
    make_lanes: MakeLanes,
    sequences: Sequence[Slopes],
    first: int = FIRST_STEPS,
    doublings: int = DOUBLINGS,
    should_stop: Callable[[], bool] = lambda: False,
) -> Measured | None:
    """Measure the drift after T, 2T, 4T, … steps until it has settled, with x fixed at the worst end.

    If the update depends on x, it must lead away from the worst end exactly there. The first T is at least ``first``
    and twice the longest period. The result is the last measurement, or None if it was stopped before any drift had
    settled.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    worst = np.sign([sum(sequence) for sequence in sequences]).astype(np.float64)
    lanes, done = make_lanes(sequences, worst), 0
    steps = first
    while steps < 2 * lengths.max():
        steps *= 2
    before = np.full((2, len(lengths)), np.nan)
    seen: Measured | None = None
    for doubling in range(doublings + 1):
        steps = steps * 2 if doubling else steps
        whole = lengths * np.maximum(1, steps // WINDOW // lengths)
        end = steps - steps % lengths  # the end of a period, or a vanishing drift would seem to change its sign
        moved, travelled = np.zeros((2, len(lengths)))
        while done < steps:
            if should_stop():
                return seen
            done = min(steps, done + PIECE)
            sums = lanes.advance(done, end - whole, end)
            moved, travelled = moved + sums[0], travelled + sums[1]
        if not travelled.any():
            raise RunFailed(f"x did not move in {steps} steps on any problem")
        with np.errstate(invalid="ignore"):
            outward = -worst * moved / travelled
            settled = (np.abs(outward - before[0]) <= CHANGE * np.abs(outward)) & (
                np.abs(before[0] - before[1]) <= CHANGE_BEFORE * np.abs(before[0])
            )
        settled &= (outward <= -LEAST_DRIFT) | (outward >= LEAST_FALL)
        if settled.any() or doubling == doublings:
            seen = Measured(sequences, np.nan_to_num(outward), travelled / whole, settled, steps)
        if settled.mean() >= SETTLED_SHARE:
            break
        before = np.array([outward, before[0]])
    return seen
