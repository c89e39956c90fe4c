"""Defines Adam, and AdamW, Adamax, RAdam, AdaBelief and Yogi, which change its corrections, its v or its decay of x.

Adam has two dialects: torch's corrects the bias of both moments; the paper's, used by papers about Adam's convergence
since Reddi, Kale and Kumar 2018, has no bias correction.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from amsgrad_exp.arithmetic import maximum, sign, sqrt
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.claims import Claim, Kind, one_sample
from amsgrad_exp.rules.moments import (
    FIRST_MOMENT,
    bias_corrected,
    decayed,
    first_moment,
    moments,
    steady_state,
    textbook_correction,
)
from amsgrad_exp.rules.rule import Hyper, Mean, Optimizer, Options, Rule, always, hyper


class AdamOptions(Options):
    """Dialect "paper" has no bias correction. In dialect "torch", `optimized_update` folds the corrections into the
    step size, so that ε is added to the uncorrected root of v.
    """

    dialect: Literal["torch", "paper"] = "torch"
    optimized_update: bool = True


def update(g, a, c, h, exp_avg, exp_avg_sq):
    """The update α_t·m_t/(√v_t + ε); α_t has both corrections, or neither in the paper's dialect."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    return a * m / (sqrt(v) + h.eps), (m, v)


def textbook_update(g, a, c, h, exp_avg, exp_avg_sq):
    """As `update`, but ε is added to the root of the corrected v; c is √(1 − β2^t)."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    return a * m / (sqrt(v) / c[0] + h.eps), (m, v)


def drift(slopes, h):
    """D = Σ_j m_j/(√v_j + ε), from the steady states of m and v."""
    m, v = steady_state(slopes, h.beta1), steady_state(slopes**2, h.beta2)
    return np.sum(m / (np.sqrt(v) + h.eps), axis=0)


FOLDED = Rule(update, bias_corrected, drift=drift, mean=FIRST_MOMENT)
TEXTBOOK = Rule(textbook_update, textbook_correction, drift=drift, mean=FIRST_MOMENT)
PAPER = Rule(update, drift=drift, mean=FIRST_MOMENT)

ADAM = Optimizer(
    title="Adam",
    summary="the average gradient over the root of its average square, both moving averages",
    lines=(
        "m_t = β1·m_{t−1} + (1 − β1)·g_t",
        "v_t = β2·v_{t−1} + (1 − β2)·g_t²",
        "x_{t+1} = x_t − α_t·√(1 − β2^t)/(1 − β1^t)·m_t/(√v_t + ε)",
    ),
    remarks=(
        "The paper's Algorithm 1, torch.optim and optax add ε after the bias correction, √(v_t/(1 − β2^t)) + ε: "
        "`optimized_update=false`.",
        "Papers on Adam's convergence, since Reddi et al. 2018, use no bias correction: `dialect=paper`. If they have "
        "an ε, it is inside the root, √(v_t + ε); here it is added to the root.",
    ),
    source="Kingma and Ba 2015, Algorithm 1",  # arXiv 1412.6980
    claim=Claim(
        Kind.REGRET,
        "Kingma and Ba 2015, Theorem 4.1",
        "β1²/√β2 < 1 and a decaying β1 (in the gauntlet: β1 = 0)",
        lambda settings: not settings.beta1 and bool(settings.beta2),  # 0²/√0 is undefined
        refuted="Reddi, Kale and Kumar 2018, Theorems 1 to 3",
    ),
    rule=lambda options: PAPER if options.dialect == "paper" else FOLDED if options.optimized_update else TEXTBOOK,
    options=AdamOptions,
    torch="amsgrad_exp.optimizers.Adam",
)


class AdamWOptions(Options):
    """`weight_decay` is λ: every step also subtracts α_t·λ·x from x."""

    weight_decay: Annotated[Number, Field(ge=0)] = 0.01


def adamw_update(g, a, c, h, x, exp_avg, exp_avg_sq):
    """The update α_t·(m̂_t/(√v̂_t + ε) + λ·x); c is (1 − β1^t, √(1 − β2^t))."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    return a * (m / c[0] / (sqrt(v) / c[1] + h.eps) + h.weight_decay * x), (m, v)


def adamw_corrections(t, scale, h, power1=1.0, power2=1.0):
    """Return 1 − β1^t and √(1 − β2^t), which correct m_t and v_t but not λ·x."""
    power1, power2 = decayed(power1, h.beta1), decayed(power2, h.beta2)
    return scale, (1.0 - power1, sqrt(1.0 - power2)), (power1, power2)


ADAMW = Optimizer(
    title="AdamW",
    summary="Adam with decoupled weight decay",
    lines=(
        "m̂_t and v̂_t: Adam's m_t and v_t, bias-corrected",
        "x_{t+1} = x_t − α_t·(m̂_t/(√v̂_t + ε) + λ·x_t)",
    ),
    remarks=("The paper multiplies λ·x_t by the schedule only. torch.optim and this project multiply it by α_t.",),
    source="Loshchilov and Hutter 2019, Algorithm 2",  # arXiv 1711.05101
    # There is no drift: the weight decay depends on x, so a period has no single D.
    rule=always(
        adamw_update,
        adamw_corrections,
        hyper=hyper(*Hyper._fields, "weight_decay"),
        uses_iterate=True,
        mean=Mean(first_moment, only_without="weight_decay"),
    ),
    options=AdamWOptions,
    torch="torch.optim.AdamW",
)


def adamax_update(g, a, c, h, exp_avg, exp_inf):
    """The update α_t·m_t/u_t with u_t = max(β2·u, |g| + ε)."""
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    u = maximum(h.beta2 * exp_inf, abs(g) + h.eps)
    return a * m / u, (m, u)


def correction(t, scale, h, power1=1.0):
    """Return α_t/(1 − β1^t)."""
    power1 = decayed(power1, h.beta1)
    return scale / (1.0 - power1), (), (power1,)


def adamax_drift(slopes, h):
    """D = Σ_j m_j/u_j. Starting from u = 0, u is periodic from the second period on."""
    m = steady_state(slopes, h.beta1)
    u, terms = np.zeros(m.shape[1:]), []
    for number in (*slopes, *slopes):
        u = np.maximum(h.beta2 * u, abs(number) + h.eps)
        terms.append(u)
    return np.sum(m / np.array(terms[len(slopes) :]), axis=0)


ADAMAX = Optimizer(
    title="Adamax",
    summary="Adam that divides by a decaying maximum of the gradient's size",
    lines=(
        "m_t = β1·m_{t−1} + (1 − β1)·g_t",
        "u_t = max(β2·u_{t−1}, |g_t| + ε)",
        "x_{t+1} = x_t − α_t/(1 − β1^t)·m_t/u_t",
    ),
    remarks=("The paper has no ε. torch.optim and optax add it to |g_t|.",),
    source="Kingma and Ba 2015, Algorithm 2",  # arXiv 1412.6980
    defaults={"lr": 2e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    rule=always(
        adamax_update,
        correction,
        hyper=hyper("lr", "beta1", "one_minus_beta1", "beta2", "eps"),
        drift=adamax_drift,
        mean=FIRST_MOMENT,
    ),
    torch="torch.optim.Adamax",
)


def radam_update(g, a, c, h, exp_avg, exp_avg_sq):
    """The update α_t·m_t·c/(√v_t + ε) with c = r_t·√(1 − β2^t), or α_t·m_t if c is 0."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    if c[0] > 0:
        return a * m * c[0] / (sqrt(v) + h.eps), (m, v)
    return a * m, (m, v)


def rectified(t, scale, h, power1=1.0, power2=1.0):
    """Return α_t/(1 − β1^t), and r_t·√(1 − β2^t), or 0 if the variance of 1/√v_t is not tractable; r_t tends to 1."""
    power1, power2 = decayed(power1, h.beta1), decayed(power2, h.beta2)
    longest = 2.0 / h.one_minus_beta2 - 1.0
    length = longest - 2.0 * (t + 1) * power2 / (1.0 - power2)
    factor = 0.0
    if length > 5.0:
        ratio = (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length)
        factor = sqrt(ratio) * sqrt(1.0 - power2)
    return scale / (1.0 - power1), (factor,), (power1, power2)


def radam_drift(slopes, h):
    """D as Adam's, or Σ_j m_j if β2 is too small for ρ_∞ > 5."""
    m, v = steady_state(slopes, h.beta1), steady_state(slopes**2, h.beta2)
    return np.sum(np.where(2 / h.one_minus_beta2 - 1 > 5, m / (np.sqrt(v) + h.eps), m), axis=0)


RADAM = Optimizer(
    title="RAdam",
    summary="SGD with momentum until v rests on enough gradients, then Adam",
    lines=(
        "ρ_t = ρ_∞ − 2t·β2^t/(1 − β2^t), ρ_∞ = 2/(1 − β2) − 1, r_t = √[(ρ_t − 4)(ρ_t − 2)ρ_∞/((ρ_∞ − 4)(ρ_∞ − 2)ρ_t)]",
        "x_{t+1} = x_t − α_t·r_t·√(1 − β2^t)/(1 − β1^t)·m_t/(√v_t + ε) where ρ_t > 5",
        "x_{t+1} = x_t − α_t/(1 − β1^t)·m_t elsewhere",
    ),
    remarks=(
        "torch.optim and this project rectify if ρ_t > 5. optax and pytorch_optimizer rectify if ρ_t ≥ 5. optax adds ε "
        "after the bias correction. Where it does not rectify, pytorch_optimizer 4.1 does not move x, unless "
        "`degenerated_to_sgd=True`.",
        "For β2 ≤ 2/3, ρ_∞ ≤ 5, so that RAdam is always SGD with momentum.",
    ),
    source="Liu et al. 2020, Algorithm 2",  # arXiv 1908.03265
    rule=always(radam_update, rectified, drift=radam_drift, mean=FIRST_MOMENT),
    torch="torch.optim.RAdam",
)


def adabelief_update(g, a, c, h, exp_avg, exp_avg_var):
    """The update α_t·m̂_t/(√ŝ_t + ε); c is √(1 − β2^t)."""
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    s = h.beta2 * exp_avg_var + h.one_minus_beta2 * (g - m) * (g - m) + h.eps
    return a * m / (sqrt(s) / c[0] + h.eps), (m, s)


def belief_drift(slopes, h):
    """D = Σ_j m_j/(√s_j + ε). The ε that each step adds to s adds up to ε/(1 − β2)."""
    m = steady_state(slopes, h.beta1)
    s = steady_state((slopes - m) ** 2, h.beta2) + h.eps / h.one_minus_beta2
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
    rule=always(adabelief_update, textbook_correction, drift=belief_drift, mean=FIRST_MOMENT),
)


def yogi_update(g, a, c, h, exp_avg=1e-6, exp_avg_sq=1e-6):
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
