"""Defines the problem of AdaBound's Theorem 1 (Luo et al. 2019, arXiv 1902.09843, Appendix A)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from amsgrad_exp.numbers import Integer, Number
from amsgrad_exp.problems.base import LinearProblem, Settings
from amsgrad_exp.problems.sequences import Periodic


class AdaboundTheorem1(LinearProblem):
    """The problem of AdaBound's Theorem 1: in every C steps, two gradients are not 0, and the second is larger.

    f_t(x) = −x if t mod C = 0, 2·x if t mod C = 1 (1 and 2 in the paper, which counts t from 1), 0 otherwise, on
    [−2, 2]; x* = −2. The theorem requires β1 = 0 and 5·β2^(C−2) ≤ (1 − β2)/(4 − β2): then v has forgotten the gradient
    2 before the next −1, and Adam moves further up than down. For β2 = 0.99, C = 730 satisfies this.
    """

    source: ClassVar[str] = "Luo et al. 2019, Theorem 1"
    name: Literal["adabound-theorem1"] = "adabound-theorem1"
    low: Number = -2.0
    high: Number = 2.0
    C: Annotated[Integer, Field(ge=3, le=10**6)] = 730
    natural_settings: ClassVar[Settings] = {"lr": 1.0, "beta1": 0.0, "beta2": 0.99, "schedule": "inv-sqrt"}

    def sequences(self) -> tuple[Periodic]:
        return (Periodic(self.C, {0: -1.0, 1: 2.0}, 0.0),)
