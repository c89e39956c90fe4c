"""Defines the problem on which Shi et al. 2021 map where RMSprop converges (ICLR 2021, Figure 1)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from amsgrad_exp.numbers import Integer
from amsgrad_exp.problems.theorem2 import SteepEveryC


class ShiBoundary(SteepEveryC):
    """The problem for which Shi et al. map over the (C, β2) plane where RMSprop converges.

    f_t(x) = C·x if t mod C = 0 (t mod C = 1 in the paper, which counts t from 1), −x otherwise, on [−1, 1]; x* = −1.
    α_t = 1/√t and β1 = 0, from x = 1. The authors' program starts with v = 100·C, the optimizers here with v = 0. The
    large v only makes the first steps, about 1/(1 − β2) of them, small.
    """

    source: ClassVar[str] = "Shi et al. 2021, Figure 1"

    name: Literal["shi-boundary"] = "shi-boundary"
    C: Annotated[Integer, Field(ge=2, le=10**6)] = 10
    start: ClassVar[float] = 1.0

    @property
    def natural_settings(self) -> dict[str, float | str]:
        return {"lr": 1.0, "beta1": 0.0, "beta2": 0.9, "schedule": "inv-sqrt"}


PROBLEM = ShiBoundary
