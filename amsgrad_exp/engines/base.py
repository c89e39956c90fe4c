"""What the driver asks of an engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from amsgrad_exp.problems import Problem
from amsgrad_exp.schedules import Schedule
from amsgrad_exp.trace import Trace


@dataclass(frozen=True)
class Driven:
    """How an engine takes an optimizer's steps, as a record says it.

    Attributes:
        engine: "compiled" or "torch".
        shape: of its parameter, "1" or "1x1"; None where there is no parameter, on the compiled engine.
        parameters: what it is built of: tensors, named tensors, a module, or groups with ``use_muon``; None likewise.
        closure: whether its ``step`` is called with a closure that evaluates the loss.
        graph: whether it gets gradients that can be differentiated.
        not_compiled: why an imported optimizer's steps are not, or no longer, taken by a compiled program, in a line.
        program, kernels: digests of the program that takes them, and of what torch's kernels gave in trials.
    """

    engine: str = "compiled"
    shape: str | None = None
    parameters: str | None = None
    closure: bool = False
    graph: bool = False
    not_compiled: str | None = None
    program: str | None = None
    kernels: str | None = None


class Engine(ABC):
    """One optimizer on one problem, advanced step by step from x_0 = ``problem.start``.

    Attributes:
        chunk_steps: about how many steps are worth taking in one call of `advance`.
        step: t, the number of steps taken.
        total_regret: R(t), the sum of the losses so far, accumulated in float64.
        x_sum: the sum of the iterates before each step taken since the last `reset_x_sum`, accumulated in float64.
        failure: why no further step can be taken, naming the step; None while all is well.
        driven: how the optimizer is driven.
    """

    chunk_steps: int
    driven: Driven = Driven()

    def __init__(self, problem: Problem, schedule: Schedule, seed: int) -> None:
        self.problem = problem
        self.schedule = schedule
        self.seed = seed
        self.step = 0
        self.total_regret = 0.0
        self.x_sum = 0.0
        self.failure: str | None = None

    @property
    @abstractmethod
    def x(self) -> float:
        """x_t, the iterate before step t is taken."""

    @property
    @abstractmethod
    def saturated(self) -> bool:
        """Whether, as far as can be told before a run repeats itself, an update depends on t no more.

        That is, through the slope and the step size alone, as once bias corrections 1 − β^t are exactly 1.
        """

    def repeats(self, steps: int) -> bool:
        """Whether so many steps from here, which led to the same `state` once, do so for ever: a closer look."""
        return True

    @property
    @abstractmethod
    def state(self) -> bytes:
        """The bits of everything that the next update depends on, other than t."""

    @abstractmethod
    def advance(self, stop: int, log_every: int) -> Trace:
        """Take the steps from `step` up to, not including, ``stop``; return those to be logged.

        Stops short, and sets `failure`, where the optimizer raises or the iterate is no longer a finite number.
        """

    def reset_x_sum(self) -> None:
        """Begin the sum of iterates anew."""
        self.x_sum = 0.0

    def halfwidths(self) -> tuple[float, float] | None:
        """Half the 95 % confidence intervals of R(t) and `x_sum`, of an engine that averages over seeds; else None."""
        return None

    @abstractmethod
    def save(self) -> bytes:
        """Everything that `load` needs to go on from here, without code.

        Raises:
            ValueError: the optimizer keeps something that cannot be saved so.
        """

    @abstractmethod
    def load(self, saved: bytes) -> None:
        """Go on from where `save` was called on an engine built with the same arguments.

        Raises:
            ValueError: the bytes are not what `save` of such an engine returns.
        """
