"""Defines a batch: runs of one optimizer that are advanced together; a single run is a batch of one."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.problems import Problem
from amsgrad_exp.schedules import Schedule
from amsgrad_exp.trace import Trace

Numbers = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Driven:
    """How an optimizer's steps are taken, as written to a run's record.

    Attributes:
        engine: "compiled" or "torch".
        shape: the shape of the parameter, "1" or "1x1"; None on the compiled engine, which has no parameter.
        parameters: what the optimizer is built from: tensors, named tensors, a module, or groups with ``use_muon``;
            None on the compiled engine.
        closure: whether ``step`` is called with a closure that evaluates the loss.
        graph: whether gradients can be differentiated.
        not_compiled: why no compiled program runs an imported optimizer, or why it stopped doing so.
        program, kernels: digests of the compiled program, and of how torch's kernels round.
    """

    engine: str = "compiled"
    shape: str | None = None
    parameters: str | None = None
    closure: bool = False
    graph: bool = False
    not_compiled: str | None = None
    program: str | None = None
    kernels: str | None = None


class Batch(ABC):
    """One or more runs that are advanced together step by step, each from x_0 = ``problem.start``.

    Attributes:
        problem, schedule: those of the first run.
        chunk_steps: about how many steps are worth taking in one call of `advance`.
        step: t, the number of steps that every run has taken.
        failure: why no run can take a further step; None if they can.
    """

    chunk_steps: int
    driven: Driven = Driven()
    failure: str | None = None

    def __init__(self, problem: Problem, schedule: Schedule) -> None:
        self.problem = problem
        self.schedule = schedule
        self.step = 0
        self._totals = np.zeros((2, 1))

    @abstractmethod
    def __len__(self) -> int:
        """The number of runs."""

    @property
    @abstractmethod
    def xs(self) -> Numbers:
        """x_t of each run, the iterate before step t is taken."""

    @property
    def totals(self) -> NDArray[np.float64]:
        """R(t) of each run, and the sum of its iterates since `reset_x_sum`: float64 of shape (2, runs)."""
        return self._totals[:, : len(self)]

    @property
    def x(self) -> float:
        """The mean of `xs`."""
        return float(np.mean(self.xs, dtype=np.float64))

    @property
    def lost(self) -> NDArray[np.bool_]:
        """The runs that cannot continue in this batch, but can be run alone."""
        return np.zeros(len(self), bool)

    @property
    def saturated(self) -> NDArray[np.bool_]:
        """The runs whose updates are believed to depend on t only through the gradient and the step size."""
        return np.zeros(len(self), bool)

    def repeats(self, steps: int) -> NDArray[np.bool_]:
        """Return which runs repeat their last ``steps`` steps forever, given that their `states` are equal again.

        This is a closer check than `saturated`.
        """
        return np.ones(len(self), bool)

    @property
    @abstractmethod
    def states(self) -> list[bytes]:
        """The bits of everything except t on which each run's next update depends."""

    @abstractmethod
    def advance(self, stop: int, log_every: int) -> Trace:
        """Take the steps up to, not including, ``stop``; return the logged points, columns of shape (points, runs).

        Stops earlier, and sets `failure`, if an optimizer raises an exception or an iterate is no longer finite.
        """

    def reset_x_sum(self) -> None:
        """Set every sum of iterates to 0."""
        self._totals[1] = 0

    def keep(self, runs: NDArray[np.int64]) -> Batch:
        """Return an independent batch of some of the runs, or this batch itself if it cannot be copied."""
        return self

    @abstractmethod
    def save(self) -> bytes:
        """Return everything that `load` needs, as data without code; raise a ValueError if that is impossible."""

    @abstractmethod
    def load(self, saved: bytes) -> None:
        """Continue from where `save` was called on a batch of the same trial, else raise a ValueError."""


class OneByOne(Batch):
    """Runs that are advanced one after the other, each a batch of its own."""

    def __init__(self, runs: Sequence[Batch]) -> None:
        super().__init__(runs[0].problem, runs[0].schedule)
        self._go_on_with(runs)

    def _go_on_with(self, runs: Sequence[Batch]) -> None:
        self.runs = runs
        self.chunk_steps, self.step, self.driven = runs[0].chunk_steps, runs[0].step, runs[0].driven

    def __len__(self) -> int:
        return sum(map(len, self.runs))

    @property
    def xs(self) -> Numbers:
        return np.concatenate([each.xs for each in self.runs])

    @property
    def totals(self) -> NDArray[np.float64]:
        return np.hstack([each.totals for each in self.runs])

    @property
    def states(self) -> list[bytes]:
        return [state for each in self.runs for state in each.states]

    def advance(self, stop: int, log_every: int) -> Trace:
        traces = [each.advance(stop, log_every) for each in self.runs]
        self.failure = next((each.failure for each in self.runs if each.failure), None)
        if self.failure is not None and len(self.runs) > 1:
            return Trace.empty((0, len(self)))
        self.step = self.runs[0].step
        columns = (np.hstack([each.columns[name] for each in traces]) for name in ("loss", "x", "regret"))
        return Trace(traces[0].step, *columns)

    def reset_x_sum(self) -> None:
        for each in self.runs:
            each.reset_x_sum()

    def save(self) -> bytes:
        return json.dumps([each.save().hex() for each in self.runs]).encode()

    def load(self, saved: bytes) -> None:
        for each, state in zip(self.runs, json.loads(saved), strict=True):
            each.load(bytes.fromhex(state))
        self.step = self.runs[0].step
