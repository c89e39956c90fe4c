"""Defines the cycle with which a reviewer showed that ADOPT can fail online (ICLR 2024 submissions, OpenReview)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from amsgrad_exp.numbers import Number
from amsgrad_exp.problems.base import LinearProblem
from amsgrad_exp.problems.online import steep_once


class AdoptCycle(LinearProblem):
    """The gradients 1.9, −1, −1, repeated: ADOPT with β1 = β2 = 0 goes to the worst point.

    f_t(x) = steep·x if t mod 3 = 0, −x otherwise, on [−1, 1]; x* = +1 for steep < 2. With these settings ADOPT divides
    each gradient by the size of the previous one, so x moves by −α·(steep − 1/steep − 1) per cycle: down for
    steep > (1 + √5)/2.
    """

    source: ClassVar[str] = "a review of ADOPT on OpenReview"

    name: Literal["adopt-cycle"] = "adopt-cycle"
    steep: Annotated[Number, Field(gt=0, lt=2)] = 1.9
    steps_per_period: ClassVar[int] = 3

    @property
    def mean_slope(self) -> float:
        return (self.steep - 2) / 3

    @property
    def largest_slope(self) -> float:
        return max(self.steep, 1.0)

    @property
    def natural_settings(self) -> dict[str, float | str]:
        return {"beta1": 0.0, "beta2": 0.0}

    def coefficients(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        return steep_once(start, stop, 3, 0, self.steep, -1.0)


PROBLEM = AdoptCycle
