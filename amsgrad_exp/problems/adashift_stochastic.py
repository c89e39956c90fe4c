"""Defines the stochastic problem of AdaShift's authors (Zhou et al. 2019, arXiv 1810.00143, Sections 3 and 5)."""

from __future__ import annotations

from typing import ClassVar, Literal

from amsgrad_exp.problems.theorem3 import RarelyC
from amsgrad_exp.problems.unconstrained import UnconstrainedLinear


class AdashiftStochastic(UnconstrainedLinear, RarelyC):
    """The stochastic problem of AdaShift: `theorem3`, unconstrained.

    f_t(x) = C·x with probability (1 + δ)/(C + 1), −x otherwise, on all of ℝ; E f_t(x) = δ·x decreases towards x = −∞,
    so the regret compares with x = −1, the best point of [low, high].
    """

    source: ClassVar[str] = "Zhou et al. 2019, Sections 3 and 5"

    name: Literal["adashift-stochastic"] = "adashift-stochastic"

    @property
    def natural_settings(self) -> dict[str, float | str]:
        return {"lr": 0.001, "beta1": 0.0, "beta2": 0.999}


PROBLEM = AdashiftStochastic
