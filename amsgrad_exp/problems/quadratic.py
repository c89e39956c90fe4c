"""Defines the base class of problems with quadratic losses on all of ℝ."""

from __future__ import annotations

from typing import Any, ClassVar

from amsgrad_exp.arithmetic import number
from amsgrad_exp.numbers import Number
from amsgrad_exp.problems.base import Problem


class Quadratic(Problem):
    """Losses f_t(x) = c·(x − b)²/2 on all of ℝ with the coefficients c and b.

    Attributes:
        start_at: x before the first step.
    """

    optimum: ClassVar[float] = 0.0

    start_at: Number

    @staticmethod
    def loss(x: Any, c: Any, b: Any) -> Any:
        """c·(x − b)²/2."""
        return c * (x - b) * (x - b) * number(0.5, x)

    @staticmethod
    def slope(x: Any, c: Any, b: Any) -> Any:
        """c·(x − b)."""
        return c * (x - b)

    @property
    def start(self) -> float:
        return self.start_at
