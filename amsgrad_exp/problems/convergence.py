"""Defines the problems of papers that show where Adam and RMSprop converge without modification.

They are Bock and Weiß 2019 (IJCNN and KI 2019; arXiv 2210.02070), Shi et al. 2021 (ICLR 2021) and Zhang et al. 2022
(arXiv 2208.09632, Section 3; a is from arXiv 2603.02092).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from amsgrad_exp.arithmetic import number, where
from amsgrad_exp.numbers import Integer, Number
from amsgrad_exp.problems.problem import AtRandom, LinearProblem, Periodic, Problem, QuadraticProblem, Settings


class BockWeiss(QuadraticProblem):
    """A quadratic around whose minimum Adam has the 2-cycle ±α(1 − β1)/(2(1 + β1)).

    f_t(x) = c·x²/2 on all of ℝ, the same at every step; x* = 0. The cycle exists for all α, β1, β2 and c, but the
    iterates do not always converge to it: they do for β1 = 0.1 and β2 = 0.5, while for β1 = 0.9 and β2 = 0.999 they
    oscillate irregularly and farther from x*. The papers' own settings are unknown; here α is constant and ε = 0.
    """

    source: ClassVar[str] = "Bock and Weiß 2019"
    convex: ClassVar[bool] = True
    name: Literal["bock-weiss"] = "bock-weiss"
    c: Annotated[Number, Field(gt=0, le=1e6)] = 1.0
    start_at: Number = 1.0
    source_settings: ClassVar[Settings] = {"lr": 0.001, "beta1": 0.1, "beta2": 0.5, "eps": 0.0}

    def sequences(self) -> tuple[Periodic, Periodic]:
        return Periodic(1, {}, self.c), Periodic(1, {}, 0.0)


class ShiBoundary(LinearProblem):
    """The problem for which Shi et al. map where RMSprop converges in the (C, β2) plane.

    f_t(x) = C·x if t mod C = 0 (t mod C = 1 in the paper, which counts t from 1), −x otherwise, on [−1, 1]; x* = −1.
    α_t = 1/√t and β1 = 0, from x = 1. The authors' program starts with v = 100·C, the optimizers here with v = 0. The
    large v only makes the first steps, about 1/(1 − β2) of them, small.
    """

    source: ClassVar[str] = "Shi et al. 2021, Figure 1"
    name: Literal["shi-boundary"] = "shi-boundary"
    C: Annotated[Integer, Field(ge=2, le=10**6)] = 10
    start: ClassVar[float] = 1.0
    source_settings: ClassVar[Settings] = {"lr": 1.0, "beta1": 0.0, "beta2": 0.9, "schedule": "inv-sqrt"}

    def sequences(self) -> tuple[Periodic]:
        return (Periodic(self.C, {0: float(self.C)}, -1.0),)


class ShiRealizable(QuadraticProblem):
    """The realizable problem of Shi et al.: all n quadratics have gradient 0 at x* = 0.

    f_t(x) = n·x²/2 if t mod n = n − 1 (t mod n = 0 in the paper, which counts t from 1), −x²/2 otherwise, on all of ℝ;
    their mean is x²/(2n). α_t = 0.1/√t, β1 = 0 and β2 = 0.999, from x = 0.01.
    """

    source: ClassVar[str] = "Shi et al. 2021, Appendix A.2"
    name: Literal["shi-realizable"] = "shi-realizable"
    n: Annotated[Integer, Field(ge=2, le=10**6)] = 10
    start_at: Number = 0.01
    source_settings: ClassVar[Settings] = {"lr": 0.1, "beta1": 0.0, "beta2": 0.999, "schedule": "inv-sqrt"}

    def sequences(self) -> tuple[Periodic, Periodic]:
        return Periodic(self.n, {self.n - 1: float(self.n)}, -1.0), Periodic(self.n, {}, 0.0)


class ShiNonrealizable(QuadraticProblem):
    """The non-realizable problem of Shi et al.: n quadratics whose gradients are not 0 at x* = 0 but cancel out.

    f_t(x) = n·(x − b)²/2 if t mod n = n − 1 (t mod n = 0 in the paper, which counts t from 1), −(x − b·n/(n − 1))²/2
    otherwise, on all of ℝ; their mean is x²/(2n) plus a constant. α_t = 0.1/√(10·⌈t/10⌉), β1 = 0 and β2 = 0.999, from
    x = 0. Verdicts are relative to the distance b. The authors' program starts with v = 100·b² + 10·(10b/9)², the
    optimizers here with v = 0.
    """

    source: ClassVar[str] = "Shi et al. 2021, Appendix A.3"
    name: Literal["shi-nonrealizable"] = "shi-nonrealizable"
    n: Annotated[Integer, Field(ge=2, le=10**6)] = 10
    b: Annotated[Number, Field(gt=0, le=1e6)] = 100.0
    start_at: Number = 0.0
    source_settings: ClassVar[Settings] = {
        "lr": 0.1 / 10**0.5,
        "beta1": 0.0,
        "beta2": 0.999,
        "schedule": "inv-sqrt:every=10",
    }

    @property
    def distance(self) -> float:
        return self.b

    @property
    def largest_slope(self) -> float:
        return self.n * self.b

    def sequences(self) -> tuple[Periodic, Periodic]:
        n, last = self.n, self.n - 1
        return Periodic(n, {last: float(n)}, -1.0), Periodic(n, {last: self.b}, self.b * n / (n - 1))


class Components(Problem):
    """A random one of n components at each step: one is steep, the other n − 1 are shallow and of the opposite sign.

    f_t(x) = s·x for x ≥ −1 and s·((x + 2)²/2 − 3/2) below, with s = 1 + (n − 1)·a for one component and −a for the
    others, on all of ℝ; their mean is x/n for x ≥ −1, and x* = −2. The component at step t depends only on (seed, t),
    as in `stochastic`.
    """

    source: ClassVar[str] = "Zhang et al. 2022, Section 3"
    name: Literal["components"] = "components"
    n: Annotated[Integer, Field(ge=2, le=10**6)] = 10
    a: Annotated[Number, Field(gt=0)] = 1.0
    optimum: ClassVar[float] = -2.0
    source_settings: ClassVar[Settings] = {"lr": 0.1, "schedule": "inv-sqrt"}  # the plots vary the betas

    @staticmethod
    def loss(x: Any, s: Any) -> Any:
        two, three_halves = number(2.0, x), number(1.5, x)
        return where(x >= -1, s * x, s * ((x + two) * (x + two) / two - three_halves))

    @staticmethod
    def slope(x: Any, s: Any) -> Any:
        return where(x >= -1, s * number(1.0, x), s * (x + number(2.0, x)))

    @property
    def transient_steps(self) -> float:
        """Of the linear part, and as if the steep component came periodically."""
        return 2 * self.largest_slope * self.n

    def sequences(self) -> tuple[AtRandom]:
        return (AtRandom(Fraction(1, self.n), 1 + (self.n - 1) * self.a, -self.a),)
