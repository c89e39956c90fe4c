"""Describes published claims of convergence and decides whether one covers a trial."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from amsgrad_exp.problems import LinearProblem, Problem

if TYPE_CHECKING:
    from amsgrad_exp.rules.settings import OptimizerSettings


class Kind(StrEnum):
    """The kind of a claim.

    REGRET: R(T) = O(√T) for any sequence of convex losses on a bounded interval, so the limit of R(T)/T is at most 0.
    STATIONARY: for smooth, independently drawn losses on ℝ, the gradient of the mean loss tends to 0 in expectation.
    """

    REGRET = "regret bound"
    STATIONARY = "stationary point"
    NONE = "none made"


@dataclass(frozen=True)
class Claim:
    """A published claim of convergence.

    Attributes:
        kind: the kind of the claim.
        theorem: where the claim was published.
        conditions: its conditions in one line, besides those of its kind.
        holds: whether an optimizer's settings satisfy the conditions.
        schedule: the name of the schedule that the claim requires.
        refuted: who has shown that the claim or its proof is wrong; empty if nobody has.
    """

    kind: Kind = Kind.NONE
    theorem: str = ""
    conditions: str = ""
    holds: Callable[[OptimizerSettings], bool] = lambda settings: True
    schedule: str = "inv-sqrt"
    refuted: str = ""

    def covers(self, optimizer: OptimizerSettings, problem: Problem, schedule: str) -> bool:
        """Whether the claim covers an optimizer on a problem with a schedule, given as text."""
        name, _, constants = schedule.partition(":")
        if self.kind is Kind.NONE or name != self.schedule or "warmup=" in constants or not self.holds(optimizer):
            return False
        linear, (low, high) = isinstance(problem, LinearProblem), problem.interval
        if self.kind is Kind.REGRET:
            return linear and math.isfinite(high - low)
        # Linear losses have no stationary point. If all losses are the same, each gradient is the mean gradient.
        return not linear and (not problem.deterministic or problem.steps_per_period == 1)


NOTHING = Claim()


def beta1_below_root_beta2(settings: OptimizerSettings) -> bool:
    """Whether β1 < √β2."""
    return (settings.beta1 or 0.0) < math.sqrt(settings.beta2 or 0.0)


def no_momentum(settings: OptimizerSettings) -> bool:
    """Whether β1 = 0; a constant β1 satisfies a theorem for decaying β1 only if it is 0."""
    return not settings.beta1


def one_sample(settings: OptimizerSettings) -> bool:
    """Return False: the theorem requires growing batches, or depends on more than the settings."""
    return False
