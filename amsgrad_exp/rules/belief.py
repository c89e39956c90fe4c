"""Defines AdaBelief and Yogi, which are Adam with another second moment."""

from __future__ import annotations

from typing import Any

import numpy as np

from amsgrad_exp.arithmetic import sign, sqrt
from amsgrad_exp.rules.claims import Claim, Kind, one_sample
from amsgrad_exp.rules.moments import FIRST_MOMENT, alongside, steady_state, textbook_correction
from amsgrad_exp.rules.rule import Floats, Optimizer, always


def adabelief_update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_var: Any) -> Any:
    """The update α_t·m̂_t/(√ŝ_t + ε); c is √(1 − β2^t)."""
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    s = h.beta2 * exp_avg_var + h.one_minus_beta2 * (g - m) * (g - m) + h.eps
    return a * m / (sqrt(s) / c[0] + h.eps), (m, s)


def drift(slopes: Floats, h: Any) -> Any:
    """D = Σ_j m_j/(√s_j + ε). The ε that each step adds to s adds up to ε/(1 − β2)."""
    m = steady_state(slopes, h.beta1)
    s = steady_state((alongside(slopes, m) - m) ** 2, h.beta2) + h.eps / h.one_minus_beta2
    return np.sum(m / (np.sqrt(s) + h.eps), axis=0)


ADABELIEF = Optimizer(
    title="AdaBelief",
    summary="Adam that divides by the root of the gradient's variance around m",
    lines=(
        "m_t as Adam's",
        "s_t = β2·s_{t−1} + (1 − β2)·(g_t − m_t)² + ε",
        "x_{t+1} = x_t − α_t·m_t/(1 − β1^t)/(√(s_t/(1 − β2^t)) + ε)",
    ),
    remarks=(
        "The authors' package rectifies as RAdam does unless told not to. optax and pytorch_optimizer 4.1 do not.",
        "ε is added to s at every step and adds up to ε/(1 − β2). With β1 = 0, g_t = m_t, so that this sum is all of "
        "s: the rule is then SGD with step size α/(√(ε/(1 − β2)) + ε).",
    ),
    source="Zhuang et al. 2020, Algorithm 2",  # arXiv 2010.07468
    claim=Claim(
        Kind.REGRET, "Zhuang et al. 2020", "second moments that never decrease, which no setting ensures", one_sample
    ),
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-16},
    rule=always(adabelief_update, textbook_correction, drift=drift, mean=FIRST_MOMENT),
)


def yogi_update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any = 1e-6, exp_avg_sq: Any = 1e-6) -> Any:
    """The update α_t·m̂_t/(√v̂_t + ε); c is √(1 − β2^t)."""
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    v = exp_avg_sq - h.one_minus_beta2 * sign(exp_avg_sq - g * g) * g * g
    return a * m / (sqrt(v) / c[0] + h.eps), (m, v)


YOGI = Optimizer(
    title="Yogi",
    summary="Adam whose v changes by at most (1 − β2)·g² per step",
    lines=(
        "m_t as Adam's",
        "v_t = v_{t−1} − (1 − β2)·sign(v_{t−1} − g_t²)·g_t²",
        "x_{t+1} = x_t − α_t·m_t/(1 − β1^t)/(√(v_t/(1 − β2^t)) + ε)",
    ),
    remarks=("m and v start from 10⁻⁶, as in optax and pytorch_optimizer.",),
    source="Zaheer et al. 2018, Algorithm 2",  # Adaptive Methods for Nonconvex Optimization; bias-corrected as released
    claim=Claim(Kind.STATIONARY, "Zaheer et al. 2018", "1 − β2 ≤ ε²/(16G²), and batches that grow", one_sample),
    defaults={"lr": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-3},
    # There is no drift: v always changes by (1 − β2)·g², so its cycle depends on where it started.
    rule=always(yogi_update, textbook_correction, mean=FIRST_MOMENT),
)
