"""What linear losses on all of ℝ share: nothing bounds x, and the mean loss has no minimum."""

from __future__ import annotations

import math

from amsgrad_exp.problems.base import LinearProblem
from amsgrad_exp.verdict import Verdict


class UnconstrainedLinear(LinearProblem):
    """Linear losses on all of ℝ, whose regret is against the best point of [low, high].

    The mean loss falls for ever, so that no x* is best. Against an end of the interval, as far from the start as where
    the paper clamps x, an iterate that goes on past it has a negative regret.

    Attributes:
        low, high: the ends of the interval of comparators; x itself is not clamped.
    """

    @property
    def interval(self) -> tuple[float, float]:
        return -math.inf, math.inf

    @property
    def comparators(self) -> tuple[float, float]:
        return self.low, self.high

    def verdict(self, x: float) -> Verdict:
        """Where an iterate, or the mean of many, is: at x*, or as far the other way, within 5 % of the interval's width
        or beyond.
        """
        part = (x - self.optimum) / (self.worst - self.optimum)
        if part <= 0.05:
            return Verdict.OPTIMUM
        return Verdict.AWAY if part >= 0.95 else Verdict.BETWEEN
