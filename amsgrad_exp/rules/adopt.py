"""ADOPT (Taniguchi et al. 2024, arXiv 2411.02853, Algorithm 2; with clipping as released by its authors)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from amsgrad_exp.arithmetic import maximum, minimum, sqrt
from amsgrad_exp.rules.claims import Claim, Kind
from amsgrad_exp.rules.mean import GRADIENT_WITHOUT_BETA1
from amsgrad_exp.rules.rule import Floats, Hyper, Optimizer, Options, Rule, alongside, steady_state


class ADOPTOptions(Options):
    """Whether the divided gradients are clipped to ±s^{1/4} at the s-th step that updates x."""

    clip: bool = True


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any) -> Any:
    """n = clip(g_t/max(√v_{t−1}, ε)), m_t = β1·m + (1 − β1)·n, update α_t·m_t, and v_t after that.

    The first step, whose bound is 0, sets v to g² and does not update x.
    """
    if c[0] == 0:
        return a * exp_avg, (exp_avg, g * g)
    n = g / maximum(sqrt(exp_avg_sq), h.eps)
    n = maximum(minimum(n, c[0]), -c[0])
    m = h.beta1 * exp_avg + h.one_minus_beta1 * n
    return a * m, (m, h.beta2 * exp_avg_sq + h.one_minus_beta2 * g * g)


def clipped(t: Any, scale: Any, h: Any, clipping: Any) -> Any:
    """The bound t^{1/4}, which grows without limit."""
    return scale, (sqrt(sqrt(t)),), (clipping,)


def unclipped(t: Any, scale: Any, h: Any, first: Any) -> Any:
    """No bound after the first step."""
    return scale, (0.0 if first > 0 else math.inf,), (0.0,)


def drift(slopes: Floats, h: Hyper) -> Floats:
    """D = Σ_j s_j/max(√v_{j−1}, ε): β1 only spreads each term over the steps after it."""
    before = np.roll(steady_state(slopes**2, h.beta2), 1, axis=0)
    divided = alongside(slopes, before) / np.maximum(np.sqrt(before), h.eps)
    total: Floats = np.sum(divided, axis=0)
    return total


MOMENTS = {"exp_avg": 0.0, "exp_avg_sq": 0.0}
CLIPPED = Rule(update, MOMENTS, clipped, (1.0,), settles=False, drift=drift, mean=GRADIENT_WITHOUT_BETA1)
UNCLIPPED = Rule(update, MOMENTS, unclipped, (1.0,), drift=drift, mean=GRADIENT_WITHOUT_BETA1)

OPTIMIZER = Optimizer(
    title="ADOPT",
    summary="momentum of gradients that are divided by the root of the previous v",
    lines=(
        "n_t = clip(g_t/max(√v_{t−1}, ε), ±(t − 1)^{1/4})",
        "m_t = β1·m_{t−1} + (1 − β1)·n_t",
        "x_{t+1} = x_t − α_t·m_t, and then v_t as Adam's; step t = 1 sets v_1 = g_1² and leaves x as it is",
    ),
    remarks=(
        "The paper's toy problem and the first releases do not clip: `clip: false`.",
        "pytorch_optimizer counts the first step, which does not update x, so that its clip is t^{1/4}. optax.contrib "
        "agrees with the rule here.",
    ),
    source="Taniguchi et al. 2024, Algorithm 2",
    claim=Claim(
        Kind.STATIONARY,
        "Taniguchi et al. 2024",
        "E g² bounded, any β2",
    ),
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.9999, "eps": 1e-6},
    rule=lambda options: CLIPPED if options.clip else UNCLIPPED,
    options=ADOPTOptions,
    variants=({"clip": False},),
)
