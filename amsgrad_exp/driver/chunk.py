"""Defines a chunk: consecutive steps of a run, and the run's totals after them."""

from __future__ import annotations

from dataclasses import dataclass

from amsgrad_exp.trace import Trace


@dataclass(frozen=True)
class Cycle:
    """The cycle that a run repeats from some step on.

    Attributes:
        start: a step from which on the run repeats.
        steps: the length of the cycle in steps.
        mean_loss: the mean of f_t(x_t) − f_t(x*) over the cycle, which is the limit of R(T)/T.
    """

    start: int
    steps: int
    mean_loss: float


@dataclass(frozen=True)
class Chunk:
    """Consecutive steps of a run: their logged points, and the run's totals after them.

    Attributes:
        trace: the points logged in this chunk.
        step: T, the number of steps done.
        x: x_T, the iterate after these steps.
        total_regret: R(T).
        tail_x_sum: the sum of x_t over the steps done that belong to the last tenth of the run.
        steps_simulated: how many of the T steps an engine simulated; the others were derived.
        reference: the earlier state that the engine's state will be compared with next; pass it to `drive` with an
            engine saved after this chunk. None if there is none.
        resumable: whether the engine is at the end of this chunk, so that it can be saved there.
        halfwidths: `Engine.halfwidths` if the engine averages over seeds, else None.
        cycle: the cycle, if the run was found to repeat itself, else None.
    """

    trace: Trace
    step: int
    x: float
    total_regret: float
    tail_x_sum: float
    steps_simulated: int
    reference: bytes | None = None
    resumable: bool = False
    halfwidths: tuple[float, float] | None = None
    cycle: Cycle | None = None


def tail_start(steps: int) -> int:
    """The first step of the last tenth of a run of ``steps`` steps; that tenth has at least one step."""
    return steps - max(1, steps // 10)
