"""Defines the quadratic of Bock and Weiß 2019 (IJCNN and KI 2019; arXiv 2210.02070)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from amsgrad_exp.numbers import Number
from amsgrad_exp.problems.quadratic import Quadratic


class BockWeiss(Quadratic):
    """A quadratic around whose minimum Adam has the 2-cycle ±α(1 − β1)/(2(1 + β1)).

    f_t(x) = c·x²/2 on all of ℝ, the same at every step; x* = 0. The cycle exists for all α, β1, β2 and c, but the
    iterates do not always converge to it: they do for β1 = 0.1 and β2 = 0.5, while for β1 = 0.9 and β2 = 0.999 they
    oscillate irregularly and farther from x*. The papers' own settings are unknown; here α is constant and ε = 0.
    """

    source: ClassVar[str] = "Bock and Weiß 2019"

    name: Literal["bock-weiss"] = "bock-weiss"
    convex: ClassVar[bool] = True
    c: Annotated[Number, Field(gt=0, le=1e6)] = 1.0
    start_at: Number = 1.0
    steps_per_period: ClassVar[int] = 1

    @model_validator(mode="after")
    def _does_not_start_at_the_optimum(self) -> BockWeiss:
        if self.start_at == self.optimum:
            raise ValueError("start_at must not be the optimum, 0, from which x never moves")
        return self

    @property
    def largest_slope(self) -> float:
        return self.c

    @property
    def natural_settings(self) -> dict[str, float | str]:
        return {"lr": 0.001, "beta1": 0.1, "beta2": 0.5, "eps": 0.0}

    def coefficients(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        return np.repeat([[self.c], [0.0]], stop - start, axis=1)


PROBLEM = BockWeiss
