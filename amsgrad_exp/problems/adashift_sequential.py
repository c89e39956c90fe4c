"""Defines the sequential problem of AdaShift's authors (Zhou et al. 2019, arXiv 1810.00143, Section 3)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from amsgrad_exp.numbers import Integer, Number
from amsgrad_exp.problems.online import steep_once
from amsgrad_exp.problems.unconstrained import UnconstrainedLinear


class AdashiftSequential(UnconstrainedLinear):
    """The sequential problem of AdaShift: one steep loss in every d steps, unconstrained.

    f_t(x) = C·x if t mod d = 0 (t mod d = 1 in the paper, which counts t from 1), −x otherwise, on all of ℝ. For
    C > d − 1 the mean loss decreases towards x = −∞, so the regret compares with x = −1, the best point of [low, high].
    """

    source: ClassVar[str] = "Zhou et al. 2019, Section 3"

    name: Literal["adashift-sequential"] = "adashift-sequential"
    C: Annotated[Number, Field(gt=0, le=1e100)] = 101.0
    d: Annotated[Integer, Field(ge=2, le=10**18)] = 101

    @property
    def mean_slope(self) -> float:
        return (self.C - (self.d - 1)) / self.d

    @property
    def largest_slope(self) -> float:
        return max(self.C, 1.0)

    @property
    def steps_per_period(self) -> int:
        return self.d

    @property
    def natural_settings(self) -> dict[str, float | str]:
        return {"lr": 0.001, "beta1": 0.0, "beta2": 0.999}

    def coefficients(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        return steep_once(start, stop, self.d, 0, self.C, -1.0)


PROBLEM = AdashiftSequential
