"""Which way an optimizer goes on a problem for a small step size: the share of its movement that leads somewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines.held import Floats, HeldLanes, Slopes
from amsgrad_exp.errors import RunFailed

MakeLanes = Callable[[Sequence[Slopes], Floats], HeldLanes]

LEAST_FALL = 1e-3  # of the drift to the worst end: nearer to 0 its sign may be that of what has not yet died out
LEAST_DRIFT = 1e-7  # in magnitude, to say to which end: nearer to 0 it is rounding's
CHANGE, CHANGE_BEFORE = 0.1, 0.3  # at most, in the last doubling of T and the one before, for a drift that has settled
SETTLED_SHARE = 0.97  # of lanes, not to wait for the others
FIRST_STEPS = 1024  # of which the first drift is taken
PIECE = 2048  # steps taken before it is asked again whether to stop
WINDOW = 4  # the last whole periods within this part of T are looked at


@dataclass(frozen=True)
class Measured:
    """What was seen of some problems.

    Attributes:
        sequences: their slopes.
        outward: Σu/Σ|u| over whole periods, positive towards the worst end; (problems,), in [−1, 1].
        speed: the mean of |u|, how far a step moves; (problems,).
        settled: whether the drift no longer changes with T, and is not too near to 0 to say; (problems,).
        steps: T, how many were taken.
    """

    sequences: Sequence[Slopes]
    outward: Floats
    speed: Floats
    settled: NDArray[np.bool_]
    steps: int

    @property
    def falls(self) -> NDArray[np.bool_]:
        """Which lead to the worst end."""
        falls: NDArray[np.bool_] = self.settled & (self.outward > 0)
        return falls


def measure(
    make_lanes: MakeLanes,
    sequences: Sequence[Slopes],
    first: int = FIRST_STEPS,
    doublings: int = 4,
    should_stop: Callable[[], bool] = lambda: False,
) -> Measured | None:
    """Take the drift of the unclamped iterate at T, 2T, 4T, … until it has settled.

    x is held at the worst end: where an update looks at x, that is where it must lead away from it.

    Args:
        make_lanes: makes lanes of sequences and of where x is held.
        sequences: of any periods; T is at least twice the longest.
        first: the first T, or more.
        doublings: at most so many.
        should_stop: asked every `PIECE` steps.

    Returns:
        What was seen, where it was to stop up to there; None where nothing had settled yet.

    Raises:
        RunFailed: the optimizer raised, made an x that is not a finite number, or moved no x.
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
        end = steps - steps % lengths  # at the end of a period, or a drift that dies out would seem to turn
        moved, travelled = np.zeros((2, len(lengths)))
        while done < steps:
            if should_stop():
                return seen
            done = min(steps, done + PIECE)
            sums = lanes.advance(done, end - whole, end)
            moved, travelled = moved + sums[0], travelled + sums[1]
        if not travelled.any():
            raise RunFailed(f"x did not move in {steps} steps, whatever the slopes")
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
