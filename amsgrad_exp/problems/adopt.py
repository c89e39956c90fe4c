"""Defines the problems about ADOPT: its authors' (Taniguchi et al. 2024, arXiv 2411.02853) and a reviewer's."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from amsgrad_exp.numbers import Number
from amsgrad_exp.problems.base import LinearProblem, Settings
from amsgrad_exp.problems.sequences import AtRandom, Periodic


class AdoptToy(LinearProblem):
    """The toy problem of ADOPT: random gradients whose noise grows with k.

    f_t(x) = k²·x with probability 1/k, −k·x otherwise, on [−1, 1]; E f_t(x) = x, so x* = −1. The paper uses k = 10 and
    50, β2 from 0.1 to 0.999, α_t = 0.01/√(1 + 0.01·t) and 2·10⁶ steps from x = 0.
    """

    source: ClassVar[str] = "Taniguchi et al. 2024, Section 5"
    name: Literal["adopt-toy"] = "adopt-toy"
    k: Annotated[Number, Field(gt=1, le=1e6)] = 50.0
    mean_slope: ClassVar[float] = 1.0
    natural_settings: ClassVar[Settings] = {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "schedule": "inv-sqrt:c=0.01"}

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
    natural_settings: ClassVar[Settings] = {"beta1": 0.0, "beta2": 0.0}

    def sequences(self) -> tuple[Periodic]:
        return (Periodic(3, {0: self.steep}, -1.0),)
