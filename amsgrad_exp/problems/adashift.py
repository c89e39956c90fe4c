"""Defines the problems of AdaShift's authors (Zhou et al. 2019, arXiv 1810.00143)."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from amsgrad_exp.numbers import Integer, Number
from amsgrad_exp.problems.base import LinearProblem, Settings
from amsgrad_exp.problems.sequences import AtRandom, Periodic
from amsgrad_exp.verdict import Verdict


class UnconstrainedLinear(LinearProblem):
    """Linear losses on all of ℝ, whose regret compares with the best point of [low, high].

    The mean loss is unbounded below, so there is no best x*. The regret therefore compares with an end of the interval,
    which is as far from the start as the interval of the AMSGrad paper; iterates beyond that end have negative regret.

    Attributes:
        low, high: the ends of the interval of comparators; x itself is not clamped.
    """

    natural_settings: ClassVar[Settings] = {"lr": 0.001, "beta1": 0.0, "beta2": 0.999}
    interval: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

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


class AdashiftSequential(UnconstrainedLinear):
    """The sequential problem of AdaShift: one steep loss in every d steps, unconstrained.

    f_t(x) = C·x if t mod d = 0 (t mod d = 1 in the paper, which counts t from 1), −x otherwise, on all of ℝ. For
    C > d − 1 the mean loss decreases towards x = −∞, so the regret compares with x = −1, the best point of [low, high].
    """

    source: ClassVar[str] = "Zhou et al. 2019, Section 3"
    name: Literal["adashift-sequential"] = "adashift-sequential"
    C: Annotated[Number, Field(gt=0, le=1e100)] = 101.0
    d: Annotated[Integer, Field(ge=2, le=10**18)] = 101

    def sequences(self) -> tuple[Periodic]:
        return (Periodic(self.d, {0: self.C}, -1.0),)


class AdashiftStochastic(UnconstrainedLinear):
    """The stochastic problem of AdaShift: `theorem3`, unconstrained.

    f_t(x) = C·x with probability (1 + δ)/(C + 1), −x otherwise, on all of ℝ; E f_t(x) = δ·x decreases towards x = −∞,
    so the regret compares with x = −1, the best point of [low, high].
    """

    source: ClassVar[str] = "Zhou et al. 2019, Sections 3 and 5"
    name: Literal["adashift-stochastic"] = "adashift-stochastic"
    C: Annotated[Number, Field(gt=1, le=1e100)] = 101.0
    delta: Annotated[Number, Field(gt=0, lt=1)] = 0.02

    @property
    def mean_slope(self) -> float:
        return self.delta

    def sequences(self) -> tuple[AtRandom]:
        return (AtRandom((1 + self.delta) / (self.C + 1), self.C, -1.0),)
