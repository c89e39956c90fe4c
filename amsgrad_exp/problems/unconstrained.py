"""Defines the base class of problems with linear losses on all of ℝ, whose mean loss has no minimum."""

from __future__ import annotations

import math

from amsgrad_exp.problems.base import LinearProblem
from amsgrad_exp.verdict import Verdict


class UnconstrainedLinear(LinearProblem):
    """Linear losses on all of ℝ, whose regret compares with the best point of [low, high].

    The mean loss is unbounded below, so there is no best x*. The regret therefore compares with an end of the interval,
    which is as far from the start as the interval of the AMSGrad paper; iterates beyond that end have negative regret.

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
        """Classify an iterate or a mean of iterates: optimum at x* or beyond, away at the other end or beyond.

        Both have a tolerance of 5 % of the interval's width.
        """
        part = (x - self.optimum) / (self.worst - self.optimum)
        if part <= 0.05:
            return Verdict.OPTIMUM
        return Verdict.AWAY if part >= 0.95 else Verdict.BETWEEN
