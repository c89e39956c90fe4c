"""Adan (Xie et al. 2022, arXiv 2208.06677, Algorithm 1), as released: its β are 1 − the paper's."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from amsgrad_exp.arithmetic import sqrt
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.claims import Claim, Kind, one_sample
from amsgrad_exp.rules.mean import FIRST_MOMENT_WITHOUT_BETA2
from amsgrad_exp.rules.rule import Floats, Optimizer, Options, Rule, alongside, decayed, hyper, steady_state


class AdanOptions(Options):
    """β3, of the second moment; β2 is of the differences of gradients."""

    beta3: Annotated[Number, Field(ge=0, lt=1)] = 0.99


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_diff: Any, exp_avg_sq: Any, previous: Any) -> Any:
    """The update α_t·(m̂_t + β2·ŵ_t)/(√n̂_t + ε).

    With d = g − g_{t−1}, 0 at first: m_t averages g by β1, w_t d by β2, and n_t (g + β2·d)² by β3. c is
    (β2·(1 − β1^t)/(1 − β2^t), √(1 − β3^t), whether there is a previous gradient).
    """
    d = c[2] * (g - previous)
    ahead = g + h.beta2 * d
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    w = h.beta2 * exp_avg_diff + h.one_minus_beta2 * d
    n = h.beta3 * exp_avg_sq + h.one_minus_beta3 * ahead * ahead
    return a * (m + c[0] * w) / (sqrt(n) / c[1] + h.eps), (m, w, n, g)


def corrections(t: Any, scale: Any, h: Any, power1: Any, power2: Any, power3: Any) -> Any:
    """α_t/(1 − β1^t), and what `update` calls c."""
    power1, power2, power3 = decayed(power1, h.beta1), decayed(power2, h.beta2), decayed(power3, h.beta3)
    of_differences = h.beta2 * (1.0 - power1) / (1.0 - power2)
    c = (of_differences, sqrt(1.0 - power3), 0.0 if t == 0 else 1.0)
    return scale / (1.0 - power1), c, (power1, power2, power3)


def drift(slopes: Floats, h: Any) -> Floats:
    """D = Σ_j (m_j + β2·w_j)/(√n_j + ε)."""
    d = slopes - np.roll(slopes, 1)
    m, w = steady_state(slopes, h.beta1), steady_state(d, h.beta2)
    n = steady_state((alongside(slopes, m) + h.beta2 * alongside(d, m)) ** 2, h.beta3)
    total: Floats = np.sum((m + h.beta2 * w) / (np.sqrt(n) + h.eps), axis=0)
    return total


RULE = Rule(
    update,
    {"exp_avg": 0.0, "exp_avg_diff": 0.0, "exp_avg_sq": 0.0, "previous_grad": 0.0},
    corrections,
    (1.0, 1.0, 1.0),
    hyper=hyper("lr", "beta1", "one_minus_beta1", "beta2", "one_minus_beta2", "beta3", "one_minus_beta3", "eps"),
    drift=drift,
    mean=FIRST_MOMENT_WITHOUT_BETA2,
)

OPTIMIZER = Optimizer(
    title="Adan",
    summary="Adam with Nesterov's momentum from differences of gradients",
    lines=(
        "d_t = g_t − g_{t−1}, 0 at first; m_t averages g_t by β1, w_t averages d_t by β2, n_t averages (g_t + "
        "β2·d_t)² by β3",
        "x_{t+1} = x_t − α_t·(m_t/(1 − β1^t) + β2·w_t/(1 − β2^t))/(√(n_t/(1 − β3^t)) + ε)",
    ),
    remarks=(
        "Each β of the paper is 1 minus the β of its code, which is the one used here.",
        "optax multiplies the differences by 1 − β2 = 0.08. The released code and this project multiply them by "
        "β2 = 0.92. optax also adds ε inside the root by default.",
    ),
    source="Xie et al. 2022, as released",
    claim=Claim(
        Kind.STATIONARY,
        "Xie et al. 2022",
        "bounded gradients and variance",
        one_sample,
    ),
    defaults={"lr": 1e-3, "beta1": 0.98, "beta2": 0.92, "eps": 1e-8},
    rule=lambda options: RULE,
    options=AdanOptions,
)
