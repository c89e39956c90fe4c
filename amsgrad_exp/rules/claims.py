"""What was published of an optimizer's convergence, and of which trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from amsgrad_exp.problems.base import LinearProblem
from amsgrad_exp.verdict import Trend, Verdict

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial
    from amsgrad_exp.spec.optimizer import OptimizerSettings


class Kind(StrEnum):
    """What is claimed.

    REGRET: R(T) = O(√T) for any sequence of convex losses on a bounded interval, hence R(T)/T → 0 or less.
    STATIONARY: of smooth losses on ℝ that are drawn independently, gradients of the mean loss tend to 0 in expectation.
    """

    REGRET = "regret bound"
    STATIONARY = "stationary point"
    NONE = "none made"


@dataclass(frozen=True)
class Claim:
    """A published claim of convergence.

    Attributes:
        kind: what is claimed.
        theorem: where.
        conditions: in a line, beside those of its kind.
        holds: whether an optimizer's settings meet them.
        schedule: the name of the schedule it is about.
        refuted: who has shown that the claim, or its proof, is wrong; empty where nobody has.
    """

    kind: Kind = Kind.NONE
    theorem: str = ""
    conditions: str = ""
    holds: Callable[[OptimizerSettings], bool] = lambda settings: True
    schedule: str = "inv-sqrt"
    refuted: str = ""

    def covers(self, trial: Trial) -> bool:
        """Whether the claim is about such a trial."""
        name, _, constants = trial.schedule.partition(":")
        if self.kind is Kind.NONE or name != self.schedule or "warmup=" in constants:
            return False
        return self._of_such_losses(trial) and self.holds(trial.optimizer)

    def contradicted(self, trial: Trial, iterate: str | None, trend: str | None) -> bool:
        """Whether a trial that came to this contradicts the claim that covers it.

        Its iterates stay at the wrong end, and its average regret does not vanish: of one that is still on its way a
        bound of order √T may hold with the constants that it has.
        """
        return iterate in (Verdict.WORST, Verdict.AWAY) and trend == Trend.NOT_VANISHING and self.covers(trial)

    def _of_such_losses(self, trial: Trial) -> bool:
        problem = trial.problem
        linear, (low, high) = isinstance(problem, LinearProblem), problem.interval
        if self.kind is Kind.REGRET:
            return linear and math.isfinite(high - low)
        # Linear losses have no stationary point; of one loss over and over again, each gradient is the mean one.
        return not linear and (not problem.deterministic or problem.steps_per_period == 1)


NOTHING = Claim()


def beta1_below_root_beta2(settings: OptimizerSettings) -> bool:
    """β1 < √β2."""
    return (settings.beta1 or 0.0) < math.sqrt(settings.beta2 or 0.0)


def of_the_paper(settings: OptimizerSettings) -> bool:
    """β1 < √β2 in dialect paper: without bias correction."""
    return settings.options.get("dialect") == "paper" and beta1_below_root_beta2(settings)


def kingmas(settings: OptimizerSettings) -> bool:
    """β1²/√β2 < 1 with β1 = 0: it has no value where β2 = 0, too."""
    return no_momentum(settings) and bool(settings.beta2)


def no_momentum(settings: OptimizerSettings) -> bool:
    """β1 = 0: what is left, here, of a β1 that decays."""
    return not settings.beta1


def one_sample(settings: OptimizerSettings) -> bool:
    """Never: the theorem is about batches that grow, or about sequences that settings alone do not decide."""
    return False
