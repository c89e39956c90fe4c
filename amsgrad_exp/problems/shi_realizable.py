"""Defines the realizable problem of Shi et al. 2021 (ICLR 2021, Appendix A.2)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from amsgrad_exp.numbers import Integer, Number
from amsgrad_exp.problems.online import steep_once
from amsgrad_exp.problems.quadratic import Quadratic


class ShiRealizable(Quadratic):
    """The realizable problem of Shi et al.: all n quadratics have gradient 0 at x* = 0.

    f_t(x) = n·x²/2 if t mod n = n − 1 (t mod n = 0 in the paper, which counts t from 1), −x²/2 otherwise, on all of ℝ;
    their mean is x²/(2n). α_t = 0.1/√t, β1 = 0 and β2 = 0.999, from x = 0.01.
    """

    source: ClassVar[str] = "Shi et al. 2021, Appendix A.2"

    name: Literal["shi-realizable"] = "shi-realizable"
    n: Annotated[Integer, Field(ge=2, le=10**6)] = 10
    start_at: Number = 0.01

    @model_validator(mode="after")
    def _does_not_start_at_the_optimum(self) -> ShiRealizable:
        if self.start_at == self.optimum:
            raise ValueError("start_at must not be the optimum, 0, from which x never moves")
        return self

    @property
    def largest_slope(self) -> float:
        return float(self.n)

    @property
    def steps_per_period(self) -> int:
        return self.n

    @property
    def natural_settings(self) -> dict[str, float | str]:
        return {"lr": 0.1, "beta1": 0.0, "beta2": 0.999, "schedule": "inv-sqrt"}

    def coefficients(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        curvatures = steep_once(start, stop, self.n, self.n - 1, self.n, -1.0)
        return np.concatenate([curvatures, np.zeros_like(curvatures)])


PROBLEM = ShiRealizable
