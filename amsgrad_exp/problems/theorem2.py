"""Defines the problem of Theorem 2 of the AMSGrad paper, and its base class: one steep loss in every C steps."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from amsgrad_exp.numbers import Integer
from amsgrad_exp.problems.base import LinearProblem
from amsgrad_exp.problems.online import steep_once


class SteepEveryC(LinearProblem):
    """f_t(x) = C·x if t mod C = 0 (t mod C = 1 if t counts from 1), −x otherwise, on [−1, 1]; x* = −1."""

    C: Annotated[Integer, Field(ge=2, le=10**6)]

    @property
    def mean_slope(self) -> float:
        return 1 / self.C

    @property
    def largest_slope(self) -> float:
        return float(self.C)

    @property
    def steps_per_period(self) -> int:
        return self.C

    def coefficients(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        return steep_once(start, stop, self.C, 0, self.C, -1.0)


class Theorem2(SteepEveryC):
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

    @property
    def natural_settings(self) -> dict[str, float | str]:
        return {"lr": 0.4, "beta1": 0.5, "beta2": 0.5, "schedule": "inv-sqrt"}


PROBLEM = Theorem2
