"""Defines the toy problem of ADOPT's authors (Taniguchi et al. 2024, arXiv 2411.02853, Section 5)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from amsgrad_exp.numbers import Number
from amsgrad_exp.problems.base import LinearProblem
from amsgrad_exp.problems.stochastic import steep_at_random


class AdoptToy(LinearProblem):
    """The toy problem of ADOPT: random gradients whose noise grows with k.

    f_t(x) = k²·x with probability 1/k, −k·x otherwise, on [−1, 1]; E f_t(x) = x, so x* = −1. The paper uses k = 10 and
    50, β2 from 0.1 to 0.999, α_t = 0.01/√(1 + 0.01·t) and 2·10⁶ steps from x = 0.
    """

    source: ClassVar[str] = "Taniguchi et al. 2024, Section 5"

    name: Literal["adopt-toy"] = "adopt-toy"
    k: Annotated[Number, Field(gt=1, le=1e6)] = 50.0
    deterministic: ClassVar[bool] = False
    steps_per_period: ClassVar[None] = None
    mean_slope: ClassVar[float] = 1.0

    @property
    def largest_slope(self) -> float:
        return self.k**2

    @property
    def natural_settings(self) -> dict[str, float | str]:
        return {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "schedule": "inv-sqrt:c=0.01"}

    def coefficients(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        return steep_at_random(start, stop, seed, 1 / self.k, self.k**2, -self.k)


PROBLEM = AdoptToy
