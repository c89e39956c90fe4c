"""Provides the parts that rules share: moments, their bias corrections, decays of β1, and periodic steady states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from amsgrad_exp.arithmetic import maximum, scalar, sqrt
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.rule import Floats, Mean, Options


@scalar
def moments(g, h, exp_avg, exp_avg_sq):
    """Return m_t = β1·m + (1 − β1)·g and v_t = β2·v + (1 − β2)·g²."""
    return h.beta1 * exp_avg + h.one_minus_beta1 * g, h.beta2 * exp_avg_sq + h.one_minus_beta2 * g * g


@scalar
def moments_and_maximum(g, h, exp_avg, exp_avg_sq, max_exp_avg_sq):
    """Return m_t, v_t and v̂_t = max(v̂, v_t)."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    return m, v, maximum(max_exp_avg_sq, v)


@scalar
def decayed(power, beta):
    """Return β^{t+1}, given β^t, or 0 as soon as 1 − β^{t+1} is exactly 1.

    Repeated multiplication gives the same bits on every platform, unlike the pow() of mathematics libraries.
    """
    power = power * beta
    return power if 1.0 - power != 1.0 else 0.0


@scalar
def bias_corrected(t, scale, h, power1=1.0, power2=1.0):
    """Fold both of Adam's corrections into the step size: α_t·√(1 − β2^t)/(1 − β1^t).

    Source: Kingma and Ba 2015, end of Section 2, where t counts from 1.
    """
    power1, power2 = decayed(power1, h.beta1), decayed(power2, h.beta2)
    return scale / (1.0 - power1) * sqrt(1.0 - power2), (), (power1, power2)


def textbook_correction(t, scale, h, power1=1.0, power2=1.0):
    """Return α_t/(1 − β1^t), and √(1 − β2^t), by which √v is divided."""
    power1, power2 = decayed(power1, h.beta1), decayed(power2, h.beta2)
    return scale / (1.0 - power1), (sqrt(1.0 - power2),), (power1, power2)


LAM = 0.99


class DecayOptions(Options):
    """`beta1_decay` says how β1 decays: β1t is β1, β1·λ^{t−1} with λ = `lam`, or β1/t, where t counts from 1."""

    beta1_decay: Literal["none", "geometric", "harmonic"] = "none"
    lam: Annotated[Number, Field(gt=0, lt=1)] = LAM

    @model_validator(mode="after")
    def _lam_is_for_a_geometric_decay(self) -> Self:
        given = self.model_fields_set
        if ("lam" in given and "beta1_decay" not in given) or (self.lam != LAM and self.beta1_decay != "geometric"):
            raise ValueError("lam requires beta1_decay=geometric")
        return self


@scalar
def constant(t, h, power):
    """Return a constant β1."""
    return h.beta1, 0.0


@scalar
def geometric(t, h, power):
    """Return β1·λ^t, where t counts from 0."""
    return h.beta1 * power, decayed(power, h.lam)


@scalar
def harmonic(t, h, power):
    """Return β1/(t + 1), where t counts from 0; it never becomes constant."""
    return h.beta1 / (t + 1), 1.0


DECAYS: dict[str, tuple[Callable[..., Any], float]] = {
    "none": (constant, 0.0),
    "geometric": (geometric, 1.0),
    "harmonic": (harmonic, 1.0),
}
"""For each decay: a function (t, h, power) → (β1t, next power), and the power at t = 0."""


def steady_state(sequence: Floats, beta: ArrayLike) -> Floats:
    """Return the periodic steady state of the exponential average of a repeated sequence.

    y_j = β·y_{j−1} + (1 − β)·s_j with y_{j+P} = y_j, so y_{P−1} = (1 − β)/(1 − β^P) · Σ_i β^i·s_{P−1−i}. For β in
    [0, 1) of any shape and s of shape (P,), or (P, …) where … broadcasts with β, y has the shape (P, *beta.shape).
    """
    beta = np.asarray(beta, np.float64)
    y = np.zeros(beta.shape)
    for number in sequence:
        y = beta * y + (1 - beta) * number
    y = y / -np.expm1(len(sequence) * np.log(beta, where=beta > 0, out=np.full(beta.shape, -np.inf)))
    states = np.empty((len(sequence), *beta.shape))
    for j, number in enumerate(sequence):
        y = beta * y + (1 - beta) * number
        states[j] = y
    return states


def gradient(g, c, h, *state):
    """`Mean.of` for a rule that follows the gradient itself, with β1t = 0."""
    return g, 0.0


def first_moment(g, c, h, exp_avg, *others):
    """`Mean.of` for a rule whose state begins with m_t."""
    return exp_avg, h.beta1


def decaying_first_moment(g, c, h, exp_avg, *others):
    """`Mean.of` for a rule whose state begins with m_t and whose coefficients begin with β1t."""
    return exp_avg, c[0]


GRADIENT, FIRST_MOMENT, DECAYING_FIRST_MOMENT = Mean(gradient), Mean(first_moment), Mean(decaying_first_moment)
GRADIENT_WITHOUT_BETA1 = Mean(gradient, only_without="beta1")
