"""Defines the problems of papers that propose another optimizer in Adam's place.

They are AdaBound (Luo et al. 2019, arXiv 1902.09843, Appendix A), AdaShift (Zhou et al. 2019, arXiv 1810.00143) and
ADOPT (Taniguchi et al. 2024, arXiv 2411.02853).
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from amsgrad_exp.numbers import Integer, Number
from amsgrad_exp.problems.problem import AtRandom, LinearProblem, Periodic, Settings


class AdaboundTheorem1(LinearProblem):
    """The problem of AdaBound's Theorem 1: in every C steps, two gradients are not 0, and the second is larger.

    f_t(x) = −x if t mod C = 0, 2·x if t mod C = 1 (1 and 2 in the paper, which counts t from 1), 0 otherwise, on
    [−2, 2]; x* = −2. The theorem requires β1 = 0 and 5·β2^(C−2) ≤ (1 − β2)/(4 − β2): then v has forgotten the gradient
    2 before the next −1, and Adam moves further up than down. For β2 = 0.99, C = 730 satisfies this.
    """

    source: ClassVar[str] = "Luo et al. 2019, Theorem 1"
    name: Literal["adabound-theorem1"] = "adabound-theorem1"
    low: Number = -2.0
    high: Number = 2.0
    C: Annotated[Integer, Field(ge=3, le=10**6)] = 730
    source_settings: ClassVar[Settings] = {"lr": 1.0, "beta1": 0.0, "beta2": 0.99, "schedule": "inv-sqrt"}

    def sequences(self) -> tuple[Periodic]:
        return (Periodic(self.C, {0: -1.0, 1: 2.0}, 0.0),)


class UnconstrainedLinear(LinearProblem):
    """Linear losses on all of ℝ, whose regret compares with the best point of [low, high].

    The mean loss is unbounded below, so there is no best x*. The regret therefore compares with an end of the interval,
    which is as far from the start as the interval of the AMSGrad paper; iterates beyond that end have negative regret.
    """

    source_settings: ClassVar[Settings] = {"lr": 0.001, "beta1": 0.0, "beta2": 0.999}
    interval: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    @property
    def comparators(self) -> tuple[float, float]:
        return self.low, self.high


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


class AdoptToy(LinearProblem):
    """The toy problem of ADOPT: random gradients whose noise grows with k.

    f_t(x) = k²·x with probability 1/k, −k·x otherwise, on [−1, 1]; E f_t(x) = x, so x* = −1. The paper uses k = 10 and
    50, β2 from 0.1 to 0.999, α_t = 0.01/√(1 + 0.01·t) and 2·10⁶ steps from x = 0.
    """

    source: ClassVar[str] = "Taniguchi et al. 2024, Section 5"
    name: Literal["adopt-toy"] = "adopt-toy"
    k: Annotated[Number, Field(gt=1, le=1e6)] = 50.0
    mean_slope: ClassVar[float] = 1.0
    source_settings: ClassVar[Settings] = {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "schedule": "inv-sqrt:c=0.01"}

    def sequences(self) -> tuple[AtRandom]:
        return (AtRandom(1 / self.k, self.k**2, -self.k),)


class AdoptCycle(LinearProblem):
    """The gradients 1.9, −1, −1, repeated: ADOPT with β1 = β2 = 0 goes to the worst point.

    f_t(x) = steep·x if t mod 3 = 0, −x otherwise, on [−1, 1]; x* = +1 for steep < 2. With these settings ADOPT divides
    each gradient by the size of the previous one, so x moves by −α·(steep − 1/steep − 1) per cycle: down for
    steep > (1 + √5)/2.
    """

    source: ClassVar[str] = "a review of ADOPT on OpenReview"
    name: Literal["adopt-cycle"] = "adopt-cycle"
    steep: Annotated[Number, Field(gt=0, lt=2)] = 1.9
    source_settings: ClassVar[Settings] = {"beta1": 0.0, "beta2": 0.0}

    def sequences(self) -> tuple[Periodic]:
        return (Periodic(3, {0: self.steep}, -1.0),)
