"""Defines the problems on which Shi et al. 2021 (ICLR 2021) show where RMSprop converges."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from amsgrad_exp.numbers import Integer, Number
from amsgrad_exp.problems.base import LinearProblem, QuadraticProblem, Settings
from amsgrad_exp.problems.sequences import Periodic


class ShiBoundary(LinearProblem):
    """The problem for which Shi et al. map over the (C, β2) plane where RMSprop converges.

    f_t(x) = C·x if t mod C = 0 (t mod C = 1 in the paper, which counts t from 1), −x otherwise, on [−1, 1]; x* = −1.
    α_t = 1/√t and β1 = 0, from x = 1. The authors' program starts with v = 100·C, the optimizers here with v = 0. The
    large v only makes the first steps, about 1/(1 − β2) of them, small.
    """

    source: ClassVar[str] = "Shi et al. 2021, Figure 1"
    name: Literal["shi-boundary"] = "shi-boundary"
    C: Annotated[Integer, Field(ge=2, le=10**6)] = 10
    start: ClassVar[float] = 1.0
    natural_settings: ClassVar[Settings] = {"lr": 1.0, "beta1": 0.0, "beta2": 0.9, "schedule": "inv-sqrt"}

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
    natural_settings: ClassVar[Settings] = {"lr": 0.1, "beta1": 0.0, "beta2": 0.999, "schedule": "inv-sqrt"}

    def sequences(self) -> tuple[Periodic, Periodic]:
        return Periodic(self.n, {self.n - 1: float(self.n)}, -1.0), Periodic(self.n, {}, 0.0)


class ShiNonrealizable(QuadraticProblem):
    """The non-realizable problem of Shi et al.: n quadratics whose gradients are not 0 at x* = 0 but cancel out.

    f_t(x) = n·(x − b)²/2 if t mod n = n − 1 (t mod n = 0 in the paper, which counts t from 1), −(x − b·n/(n − 1))²/2
    otherwise, on all of ℝ; their mean is x²/(2n) plus a constant. α_t = 0.1/√(10·⌈t/10⌉), β1 = 0 and β2 = 0.999, from
    x = 0. A distance of b from x* counts as far. The authors' program starts with v = 100·b² + 10·(10b/9)², the
    optimizers here with v = 0.
    """

    source: ClassVar[str] = "Shi et al. 2021, Appendix A.3"
    name: Literal["shi-nonrealizable"] = "shi-nonrealizable"
    n: Annotated[Integer, Field(ge=2, le=10**6)] = 10
    b: Annotated[Number, Field(gt=0, le=1e6)] = 100.0
    start_at: Number = 0.0
    natural_settings: ClassVar[Settings] = {
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
