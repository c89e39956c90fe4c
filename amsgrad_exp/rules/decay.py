"""Defines decays of β1, which proofs of regret bounds require (Reddi, Kale and Kumar 2018, Corollary 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from amsgrad_exp.arithmetic import scalar
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.rule import Options, decayed

LAM = 0.99

Decay = Literal["none", "geometric", "harmonic"]


class DecayOptions(Options):
    """How β1 decays, t counted from 1: β1t is β1, β1·λ^{t−1} with λ = lam, or β1/t."""

    beta1_decay: Decay = "none"
    lam: Annotated[Number, Field(gt=0, lt=1)] = LAM

    @model_validator(mode="after")
    def _lam_is_for_a_geometric_decay(self) -> Self:
        given = self.model_fields_set
        if ("lam" in given and "beta1_decay" not in given) or (self.lam != LAM and self.beta1_decay != "geometric"):
            raise ValueError("lam requires beta1_decay=geometric")
        return self


@scalar
def constant(t: Any, h: Any, power: Any) -> Any:
    """A constant β1."""
    return h.beta1, 0.0


@scalar
def geometric(t: Any, h: Any, power: Any) -> Any:
    """β1·λ^t, t counted from 0."""
    return h.beta1 * power, decayed(power, h.lam)


@scalar
def harmonic(t: Any, h: Any, power: Any) -> Any:
    """β1/(t + 1), t counted from 0. It never becomes constant."""
    return h.beta1 / (t + 1), 1.0


DECAYS: dict[str, tuple[Callable[..., Any], float]] = {
    "none": (constant, 0.0),
    "geometric": (geometric, 1.0),
    "harmonic": (harmonic, 1.0),
}
"""For each decay: a function (t, h, power) → (β1t, next power), and the power at t = 0."""
