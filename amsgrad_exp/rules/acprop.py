"""ACProp (Zhuang et al. 2021, arXiv 2110.05454), as released by its authors, without rectification."""

from __future__ import annotations

from typing import Any

import numpy as np

from amsgrad_exp.arithmetic import sqrt
from amsgrad_exp.rules.claims import Claim, Kind
from amsgrad_exp.rules.mean import GRADIENT
from amsgrad_exp.rules.rule import Floats, Hyper, Optimizer, Rule, alongside, decayed, steady_state


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_var: Any) -> Any:
    """The update α_t·g/(√(s/(1 − β2^{t−1})) + ε) with s = s_{t−1} + ε, then s_t = β2·s + (1 − β2)·(g − m_t)².

    c is √(1 − β2^{t−1}), and 0 for the first step, whose update is α_t·g.
    """
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    fresh = h.one_minus_beta2 * (g - m) * (g - m)
    if c[0] == 0:
        return a * g, (m, fresh)
    s = exp_avg_var + h.eps
    return a * g / (sqrt(s) / c[0] + h.eps), (m, h.beta2 * s + fresh)


def delayed(t: Any, scale: Any, h: Any, power2: Any) -> Any:
    """√(1 − β2^{t−1}), t counted from 1. The power of the next step is carried."""
    return scale, (sqrt(1.0 - power2),), (decayed(power2, h.beta2),)


def drift(slopes: Floats, h: Hyper) -> Floats:
    """D = Σ_j s_j/(√v_{j−1} + ε), v of g − m; the ε that each step adds to s adds up to ε/(1 − β2)."""
    m = steady_state(slopes, h.beta1)
    v = steady_state((alongside(slopes, m) - m) ** 2, h.beta2)
    before = np.roll(v, 1, axis=0) + h.eps / h.one_minus_beta2
    total: Floats = np.sum(alongside(slopes, m) / (np.sqrt(before) + h.eps), axis=0)
    return total


RULE = Rule(update, {"exp_avg": 0.0, "exp_avg_var": 0.0}, delayed, (1.0,), drift=drift, mean=GRADIENT)

OPTIMIZER = Optimizer(
    title="ACProp",
    summary="the gradient over the root of AdaBelief's variance of the step before",
    lines=(
        "m_t and s_t as AdaBelief's",
        "x_{t+1} = x_t − α_t·g_t/(√((s_{t−1} + ε)/(1 − β2^{t−1})) + ε), by α_1·g_1 at first",
    ),
    remarks=(
        "optax computes s_t from g_t − m_{t−1}. The authors' code and this project compute it from g_t − m_t. The "
        "numerator is g_t in all of them. optax divides the first step by 1 + ε.",
        "The released code can rectify as RAdam does. The rule here does not.",
    ),
    source="Zhuang et al. 2021, as released",
    claim=Claim(
        Kind.STATIONARY,
        "Zhuang et al. 2021",
        "bounded gradients",
    ),
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-16},
    rule=lambda options: RULE,
)
