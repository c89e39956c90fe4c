"""Defines the quadratic of Bock and Weiß 2019 (IJCNN and KI 2019; arXiv 2210.02070)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from amsgrad_exp.numbers import Number
from amsgrad_exp.problems.base import QuadraticProblem, Settings
from amsgrad_exp.problems.sequences import Periodic


class BockWeiss(QuadraticProblem):
    """A quadratic around whose minimum Adam has the 2-cycle ±α(1 − β1)/(2(1 + β1)).

    f_t(x) = c·x²/2 on all of ℝ, the same at every step; x* = 0. The cycle exists for all α, β1, β2 and c, but the
    iterates do not always converge to it: they do for β1 = 0.1 and β2 = 0.5, while for β1 = 0.9 and β2 = 0.999 they
    oscillate irregularly and farther from x*. The papers' own settings are unknown; here α is constant and ε = 0.
    """

    source: ClassVar[str] = "Bock and Weiß 2019"
    convex: ClassVar[bool] = True
    name: Literal["bock-weiss"] = "bock-weiss"
    c: Annotated[Number, Field(gt=0, le=1e6)] = 1.0
    start_at: Number = 1.0
    natural_settings: ClassVar[Settings] = {"lr": 0.001, "beta1": 0.1, "beta2": 0.5, "eps": 0.0}

    def sequences(self) -> tuple[Periodic, Periodic]:
        return Periodic(1, {}, self.c), Periodic(1, {}, 0.0)
