"""Defines the step-size schedules α_t, with t counted from 0, and the warm-up that may precede any of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import field
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from amsgrad_exp.numbers import Integer, Number

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MAX_STEPS = 10**18


@dataclass(frozen=True)
class Schedule(ABC):
    """Step sizes derived from one learning rate.

    With ``warmup`` W > 0, α_t rises linearly from α/W at t = 0 to α at t = W. Then the schedule follows, with t counted
    from the end of the warm-up and T reduced by W.

    Attributes:
        lr: α > 0.
        steps: T, the number of steps of the run.
        warmup: W ≥ 0, less than T.
        needs_length: whether α_t depends on T, so that a longer run differs from its first step on.
    """

    needs_length: ClassVar[bool] = False

    lr: float
    steps: int = field(default=MAX_STEPS, kw_only=True)
    warmup: Annotated[Integer, Field(ge=0, lt=MAX_STEPS)] = field(default=0, kw_only=True)

    @property
    def constant(self) -> bool:
        """Whether α_t is the same at every step, a condition of fast-forwarding."""
        return False

    @abstractmethod
    def decay(self, t: Integers) -> Floats:
        """α_t/α at some steps, counted from the end of the warm-up."""

    def scales(self, start: int, stop: int) -> Floats:
        """α_t/α of steps start ≤ t < stop, float64 of shape (stop - start,)."""
        t = np.arange(start - self.warmup, stop - self.warmup)
        if start >= self.warmup:
            return self.decay(t)
        rising = (1 + (self.warmup - 1) * ((t + self.warmup) / self.warmup)) / self.warmup
        return np.where(t < 0, rising, self.decay(np.maximum(t, 0)))

    def step_sizes(self, start: int, stop: int) -> Floats:
        """α_t of steps start ≤ t < stop, float64 of shape (stop - start,)."""
        return self.lr * self.scales(start, stop)


@dataclass(frozen=True)
class Constant(Schedule):
    """α_t = α, as in the reference experiment."""

    @property
    def constant(self) -> bool:
        return self.warmup == 0

    def decay(self, t: Integers) -> Floats:
        return np.ones(len(t))


@dataclass(frozen=True)
class _Slowing(Schedule):
    """Step sizes that fall with 1 + c·⌊t/every⌋: every ``every`` steps, and the faster, the larger c."""

    c: Annotated[Number, Field(gt=0, le=1e6)] = 1.0
    every: Annotated[Integer, Field(ge=1, le=10**9)] = 1

    def _count(self, t: Integers) -> Any:
        return 1 + self.c * (t if self.every == 1 else t // self.every)


@dataclass(frozen=True)
class InverseSquareRoot(_Slowing):
    """α_t = α/√(1 + c·⌊t/every⌋): by default the paper's α/√t, whose t counts from 1 (Theorems 1 and 4)."""

    def decay(self, t: Integers) -> Any:
        return 1 / np.sqrt(self._count(t))


@dataclass(frozen=True)
class Inverse(_Slowing):
    """α_t = α/(1 + c·⌊t/every⌋): by default α/t, with t counted from 1, as for strongly convex losses."""

    def decay(self, t: Integers) -> Any:
        return 1 / self._count(t)


@dataclass(frozen=True)
class Step(Schedule):
    """α_t = α·gamma^⌊t/every⌋: StepLR with step_size = every."""

    every: Annotated[Integer, Field(ge=1, le=MAX_STEPS)]
    gamma: Annotated[Number, Field(gt=0, lt=1)] = 0.1

    def decay(self, t: Integers) -> Any:
        return self.gamma ** (t // self.every).astype(float)


@dataclass(frozen=True)
class _ToTheEnd(Schedule):
    """Step sizes that fall from α at the start of the run to final·α after its last step."""

    needs_length: ClassVar[bool] = True

    final: Annotated[Number, Field(ge=0, le=1)] = 0.0

    def _left(self, t: Integers) -> Any:
        """The fraction of the run after the warm-up that is left, 1 at its start."""
        length = self.steps - self.warmup
        return (length - t) / length


@dataclass(frozen=True)
class Linear(_ToTheEnd):
    """α_t falls from α to final·α along a straight line over the run: LinearLR with total_iters = T."""

    def decay(self, t: Integers) -> Any:
        return self.final + (1 - self.final) * self._left(t)


@dataclass(frozen=True)
class Cosine(_ToTheEnd):
    """α_t falls from α to final·α along half a cosine over the run: CosineAnnealingLR with T_max = T."""

    def decay(self, t: Integers) -> Any:
        # (1 + cos πt/T)/2 is sin²(π(T − t)/2T), which loses no digits where it is nearly 0.
        return self.final + (1 - self.final) * np.sin(np.pi / 2 * self._left(t)) ** 2


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "inv-sqrt": InverseSquareRoot,
    "inv": Inverse,
    "step": Step,
    "linear": Linear,
    "cosine": Cosine,
}
