"""A stretch of a run."""

from __future__ import annotations

from dataclasses import dataclass

from amsgrad_exp.trace import Trace


@dataclass(frozen=True)
class Cycle:
    """What a run repeats for ever.

    Attributes:
        start: a step from which on it does.
        steps: how many steps it is long.
        mean_loss: the mean of f_t(x_t) − f_t(x*) over it, the limit of R(T)/T.
    """

    start: int
    steps: int
    mean_loss: float


@dataclass(frozen=True)
class Chunk:
    """A stretch of a run: its logged points, and where the run stands after it.

    Attributes:
        trace: the points logged in this stretch.
        step: the number of steps done, T.
        x: x_T, the iterate after them.
        total_regret: R(T).
        tail_x_sum: the sum of x_t over the steps done that belong to the last tenth of the run.
        steps_simulated: how many of the T steps an engine took; the others were derived.
        reference: the state that the engine's is next compared with, to be handed to `drive` with an engine saved
            after this chunk; None where there is none.
        resumable: whether the engine stands after this chunk, so that it may be saved there.
        halfwidths: of an engine that averages over seeds, `Engine.halfwidths`; else None.
        cycle: of a run that was found to repeat itself; else None.
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
    """The first step of the last tenth of a run of ``steps`` steps; the tail has at least one step."""
    return steps - max(1, steps // 10)
