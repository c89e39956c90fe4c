"""Describes the mean of gradients that a rule's update follows, which is what a regret bound depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mean:
    """The mean of gradients m_t = β1t·m_{t−1} + (1 − β1t)·g_t of a rule that updates x by −η_t·m_t, η_t ≥ 0.

    Attributes:
        of: (g, c, h, *state) → (m_t, β1t), from a step's gradient, coefficients and hyper-parameters, and from the
            state after it; it is compiled.
        only_without: the hyper-parameter that must be 0 for the rule to have this form; None if it always has.
    """

    of: Callable[..., tuple[Any, Any]]
    only_without: str | None = None


def _gradient(g: Any, c: Any, h: Any, *state: Any) -> tuple[Any, Any]:
    """The gradient itself, and β1 = 0."""
    return g, 0.0


def _first_moment(g: Any, c: Any, h: Any, exp_avg: Any, *others: Any) -> tuple[Any, Any]:
    """The first entry of the state, and β1."""
    return exp_avg, h.beta1


def _decaying(g: Any, c: Any, h: Any, exp_avg: Any, *others: Any) -> tuple[Any, Any]:
    """The first entry of the state, and the first coefficient, β1t."""
    return exp_avg, c[0]


def _heavy_ball(g: Any, c: Any, h: Any, momentum_buffer: Any) -> tuple[Any, Any]:
    """(1 − μ)·b_t with b_t = μ·b + g, and μ."""
    return (1.0 - h.momentum) * momentum_buffer, h.momentum


GRADIENT = Mean(_gradient)
GRADIENT_WITHOUT_BETA1 = Mean(_gradient, only_without="beta1")
GRADIENT_WITHOUT_MOMENTUM = Mean(_gradient, only_without="momentum")
FIRST_MOMENT = Mean(_first_moment)
FIRST_MOMENT_WITHOUT_BETA2 = Mean(_first_moment, only_without="beta2")
FIRST_MOMENT_WITHOUT_DECAY = Mean(_first_moment, only_without="weight_decay")
DECAYING_FIRST_MOMENT = Mean(_decaying)
HEAVY_BALL = Mean(_heavy_ball)
