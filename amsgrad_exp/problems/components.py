"""Defines the n-component function of Zhang et al. 2022 (arXiv 2208.09632, Section 3; a is from arXiv 2603.02092)."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from amsgrad_exp.arithmetic import number, where
from amsgrad_exp.numbers import Integer, Number
from amsgrad_exp.problems.base import Problem, Settings
from amsgrad_exp.problems.sequences import AtRandom


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
    natural_settings: ClassVar[Settings] = {"lr": 0.1, "schedule": "inv-sqrt"}  # the plots vary the betas

    @staticmethod
    def loss(x: Any, s: Any) -> Any:
        """s·x for x ≥ −1, s·((x + 2)²/2 − 3/2) below."""
        two, three_halves = number(2.0, x), number(1.5, x)
        return where(x >= -1, s * x, s * ((x + two) * (x + two) / two - three_halves))

    @staticmethod
    def slope(x: Any, s: Any) -> Any:
        """s for x ≥ −1, s·(x + 2) below."""
        return where(x >= -1, s * number(1.0, x), s * (x + number(2.0, x)))

    @property
    def unevenness(self) -> float:
        """As `Problem.unevenness`, for the linear part, and as if the steep component came periodically."""
        return 2 * self.largest_slope * self.n

    def sequences(self) -> tuple[AtRandom]:
        return (AtRandom(Fraction(1, self.n), 1 + (self.n - 1) * self.a, -self.a),)
