"""Defines the non-realizable problem of Shi et al. 2021 (ICLR 2021, Appendix A.3)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from amsgrad_exp.numbers import Integer, Number
from amsgrad_exp.problems.online import steep_once
from amsgrad_exp.problems.quadratic import Quadratic


class ShiNonrealizable(Quadratic):
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

    @property
    def distance(self) -> float:
        return self.b

    @property
    def largest_slope(self) -> float:
        return self.n * self.b

    @property
    def steps_per_period(self) -> int:
        return self.n

    @property
    def natural_settings(self) -> dict[str, float | str]:
        return {"lr": 0.1 / 10**0.5, "beta1": 0.0, "beta2": 0.999, "schedule": "inv-sqrt:every=10"}

    def coefficients(self, start: int, stop: int, seed: int = 0) -> NDArray[np.float64]:
        last, n = self.n - 1, self.n
        curvatures = steep_once(start, stop, n, last, n, -1.0)
        return np.concatenate([curvatures, steep_once(start, stop, n, last, self.b, self.b * n / (n - 1))])


PROBLEM = ShiNonrealizable
