"""Defines the problems of the AMSGrad paper (Reddi, Kale and Kumar 2018, arXiv 1904.09237)."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from amsgrad_exp.numbers import Integer, Number
from amsgrad_exp.problems.problem import AtRandom, LinearProblem, Periodic, Settings


class Online(LinearProblem):
    """The paper's online experiment: steep if t mod period = phase, else shallow.

    f_t(x) = 1010·x if t mod 101 = 1, −10·x otherwise, on [−1, 1]; x* = −1.
    """

    source: ClassVar[str] = "Reddi, Kale and Kumar 2018, Section 5"
    name: Literal["online"] = "online"
    steep: Number = 1010.0
    shallow: Number = -10.0
    period: Annotated[Integer, Field(ge=1, le=10**18)] = 101
    phase: Annotated[Integer, Field(ge=0)] = 1

    def sequences(self) -> tuple[Periodic]:
        return (Periodic(self.period, {self.phase: self.steep}, self.shallow),)

    @model_validator(mode="after")
    def _phase_within_period(self) -> Online:
        if self.phase >= self.period:
            raise ValueError(f"phase must be less than period ({self.period}), not {self.phase}")
        return self


class Stochastic(LinearProblem):
    """The paper's stochastic experiment: steep with a small probability, else shallow.

    f_t(x) = 1010·x with probability 0.01, −10·x otherwise, on [−1, 1]; E f_t(x) = 0.2·x, so x* = −1. The gradient at
    step t depends only on (seed, t): it is steep if word t of the generator Philox with the key seed, divided by 2⁶⁴,
    is less than the probability.
    """

    source: ClassVar[str] = "Reddi, Kale and Kumar 2018, Section 5"
    name: Literal["stochastic"] = "stochastic"
    steep: Number = 1010.0
    shallow: Number = -10.0
    probability: Annotated[Number, Field(gt=0, lt=1)] = 0.01

    def sequences(self) -> tuple[AtRandom]:
        return (AtRandom(self.probability, self.steep, self.shallow),)


class Theorem1(LinearProblem):
    """The problem of the paper's Theorem 1: Adam's average regret tends to (2C − 4)/3.

    f_t(x) = C·x if t mod 3 = 1, −x otherwise, on [−1, 1], C > 2; x* = −1. The theorem's settings are β1 = 0,
    β2 = 1/(1 + C²) and α_t = α/√t with α < √(1 − β2); α = 0.5 satisfies it for every C > 2.
    """

    source: ClassVar[str] = "Reddi, Kale and Kumar 2018, Theorem 1"
    name: Literal["theorem1"] = "theorem1"
    C: Annotated[Number, Field(gt=2, le=1e100)] = 3.0

    @property
    def source_settings(self) -> Settings:
        return {"lr": 0.5, "beta1": 0.0, "beta2": 1 / (1 + self.C**2), "schedule": "inv-sqrt"}

    def sequences(self) -> tuple[Periodic]:
        return (Periodic(3, {1: self.C}, -1.0),)


class Theorem2(LinearProblem):
    """The problem of the paper's Theorem 2: for all β1 < √β2 there is a C for which Adam's regret is linear.

    f_t(x) = C·x if t mod C = 0 (t mod C = 1 in the paper, which counts t from 1), −x otherwise, on [−1, 1]; x* = −1,
    and at the other end the average regret is 2/C. The paper's conditions on C are (1 − β1)·β1^(C−1)·C ≤ 1 − β1^(C−1),
    β2^((C−2)/2)·C² ≤ 1 and, with γ = β1/√β2, 3(1 − β1)/(2√(1 − β2))·(1 + γ(1 − γ^(C−1))/(1 − γ)) +
    β1^(C/2−1)/(1 − β1) < C/3. The smallest even C that satisfies them is 20 for β1 = β2 = 0.5, and 3218 for β1 = 0.9
    and β2 = 0.99. α is arbitrary, and α_t = α/√t.
    """

    source: ClassVar[str] = "Reddi, Kale and Kumar 2018, Theorem 2"
    name: Literal["theorem2"] = "theorem2"
    C: Annotated[Integer, Field(ge=2, le=10**6)] = 20
    source_settings: ClassVar[Settings] = {"lr": 0.4, "beta1": 0.5, "beta2": 0.5, "schedule": "inv-sqrt"}

    def sequences(self) -> tuple[Periodic]:
        return (Periodic(self.C, {0: float(self.C)}, -1.0),)


class Theorem3(LinearProblem):
    """The problem of the paper's Theorem 3: Adam also fails on random losses, for every β1 < √β2 and some C.

    f_t(x) = C·x with probability (1 + δ)/(C + 1), −x otherwise, on [−1, 1]; E f_t(x) = δ·x, so x* = −1. The theorem
    says that Adam moves up on average for any α, if C is large enough for β1, β2 and δ. It gives no values; C = 101 and
    δ = 0.02 are those of the paper's Section 5 (`stochastic`), divided by ten.
    """

    source: ClassVar[str] = "Reddi, Kale and Kumar 2018, Theorem 3"
    name: Literal["theorem3"] = "theorem3"
    C: Annotated[Number, Field(gt=1, le=1e100)] = 101.0
    delta: Annotated[Number, Field(gt=0, lt=1)] = 0.02
    source_settings: ClassVar[Settings] = {"lr": 1.0, "beta1": 0.9, "beta2": 0.99, "schedule": "inv-sqrt"}

    @property
    def mean_slope(self) -> float:
        return self.delta

    def sequences(self) -> tuple[AtRandom]:
        return (AtRandom((1 + self.delta) / (self.C + 1), self.C, -1.0),)


class Theorem6(LinearProblem):
    """The problem of the paper's Theorem 6: an ε in Adam's denominator does not help, because losses can be scaled.

    f_t(x) = 10√ε·C·x if t mod 3 = 0 (t mod 3 = 1 in the paper, which counts t from 1), −10√ε·x otherwise, on [−1, 1];
    x* = −1. The theorem's denominator is √(v + ε), with β1 = 0, β2 = 2/((1 + C²)·C²) and α_t = α/√t. The optimizers
    here add eps to √v instead: since √v + √ε ≥ √(v + ε), eps = √ε helps at least as much.
    """

    source: ClassVar[str] = "Reddi, Kale and Kumar 2018, Theorem 6"
    name: Literal["theorem6"] = "theorem6"
    C: Annotated[Number, Field(gt=2, le=1e6)] = 3.0
    epsilon: Annotated[Number, Field(ge=1e-20, le=1)] = 1e-8

    @property
    def source_settings(self) -> Settings:
        square, root = self.C**2, math.sqrt(self.epsilon)
        return {"lr": 0.5, "beta1": 0.0, "beta2": 2 / ((1 + square) * square), "eps": root, "schedule": "inv-sqrt"}

    @property
    def mean_slope(self) -> float:
        return 10 * math.sqrt(self.epsilon) * (self.C - 2) / 3

    def sequences(self) -> tuple[Periodic]:
        scale = 10 * math.sqrt(self.epsilon)
        return (Periodic(3, {0: scale * self.C}, -scale),)
