"""Defines NAdam and Adan, which are Adam with Nesterov's momentum."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from amsgrad_exp.arithmetic import power, sqrt
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.claims import Claim, Kind, one_sample
from amsgrad_exp.rules.moments import GRADIENT_WITHOUT_BETA1, decayed, first_moment, moments, steady_state
from amsgrad_exp.rules.rule import Hyper, Mean, Optimizer, Options, always, hyper


class NAdamOptions(Options):
    """`momentum_decay` is ψ: it says how fast the momentum μ_t rises from β1/2 to β1."""

    momentum_decay: Annotated[Number, Field(ge=0)] = 0.004


def nadam_update(g, a, c, h, exp_avg, exp_avg_sq):
    """The update α_t·(c_0·g + c_1·m_t)/(√(v_t/(1 − β2^t)) + ε); c_2 is √(1 − β2^t)."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    return a * (c[0] * g + c[1] * m) / (sqrt(v) / c[2] + h.eps), (m, v)


def momenta(t, scale, h, mu_product=1.0, unsettled=1.0, power2=1.0):
    """Return (1 − μ_t)/(1 − Π_t), μ_{t+1}/(1 − Π_{t+1}) and √(1 − β2^t); Π_t is carried as ``mu_product``.

    ``unsettled`` is 0.96^{tψ}, until 1 − 0.96^{tψ}/2 is exactly 1; then it is 0.
    """
    mu, following = h.beta1, h.beta1
    if unsettled > 0:
        mu = h.beta1 * (1.0 - 0.5 * power(0.96, (t + 1) * h.momentum_decay))
        unsettled = power(0.96, (t + 2) * h.momentum_decay)
        following = h.beta1 * (1.0 - 0.5 * unsettled)
        unsettled = unsettled if 1.0 - 0.5 * unsettled != 1.0 else 0.0
    mu_product, power2 = decayed(mu_product, mu), decayed(power2, h.beta2)
    of_gradient, of_mean = (1.0 - mu) / (1.0 - mu_product), following / (1.0 - mu_product * following)
    return scale, (of_gradient, of_mean, sqrt(1.0 - power2)), (mu_product, unsettled, power2)


def nadam_drift(slopes, h):
    """D = Σ_j (β1·m_j + (1 − β1)·s_j)/(√v_j + ε)."""
    m, v = steady_state(slopes, h.beta1), steady_state(slopes**2, h.beta2)
    ahead = h.beta1 * m + h.one_minus_beta1 * slopes
    return np.sum(ahead / (np.sqrt(v) + h.eps), axis=0)


# The class is made from the rule, since torch.optim's keeps mu_product, Π μ_i, in float32 even for float64 parameters.
NADAM = Optimizer(
    title="NAdam",
    summary="Adam with Nesterov's momentum",
    lines=(
        "m_t and v_t as Adam's, μ_t = β1·(1 − 0.96^{tψ}/2), Π_t = Π_{i≤t} μ_i",
        "n_t = (1 − μ_t)/(1 − Π_t)·g_t + μ_{t+1}/(1 − Π_{t+1})·m_t",
        "x_{t+1} = x_t − α_t·n_t/(√(v_t/(1 − β2^t)) + ε)",
    ),
    remarks=(
        "torch.optim.NAdam keeps Π_t in the default dtype, float32, even if the parameters are float64. The class "
        "here keeps it in double precision.",
        "optax has no schedule of the momentum: μ_t = β1, which is this rule with a large ψ.",
    ),
    source="Dozat 2016, as in torch.optim",  # Incorporating Nesterov Momentum into Adam
    defaults={"lr": 2e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    rule=always(
        nadam_update,
        momenta,
        hyper=hyper(*Hyper._fields, "momentum_decay"),
        drift=nadam_drift,
        mean=GRADIENT_WITHOUT_BETA1,
    ),
    options=NAdamOptions,
    kept_by_torch=("mu_product",),
)


class AdanOptions(Options):
    """`beta3` is the decay rate of the second moment; β2 is that of the mean difference of gradients."""

    beta3: Annotated[Number, Field(ge=0, lt=1)] = 0.99


def adan(g, a, c, h, exp_avg, exp_avg_diff, exp_avg_sq, previous_grad):
    """The update α_t·(m̂_t + β2·ŵ_t)/(√n̂_t + ε).

    c is (β2·(1 − β1^t)/(1 − β2^t), √(1 − β3^t), whether there is a previous gradient).
    """
    d = c[2] * (g - previous_grad)
    ahead = g + h.beta2 * d
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    w = h.beta2 * exp_avg_diff + h.one_minus_beta2 * d
    n = h.beta3 * exp_avg_sq + h.one_minus_beta3 * ahead * ahead
    return a * (m + c[0] * w) / (sqrt(n) / c[1] + h.eps), (m, w, n, g)


def adan_corrections(t, scale, h, power1=1.0, power2=1.0, power3=1.0):
    """Return α_t/(1 − β1^t), and c of `adan`."""
    power1, power2, power3 = decayed(power1, h.beta1), decayed(power2, h.beta2), decayed(power3, h.beta3)
    of_differences = h.beta2 * (1.0 - power1) / (1.0 - power2)
    c = (of_differences, sqrt(1.0 - power3), 0.0 if t == 0 else 1.0)
    return scale / (1.0 - power1), c, (power1, power2, power3)


def adan_drift(slopes, h):
    """D = Σ_j (m_j + β2·w_j)/(√n_j + ε)."""
    d = slopes - np.roll(slopes, 1)
    m, w = steady_state(slopes, h.beta1), steady_state(d, h.beta2)
    n = steady_state((slopes + h.beta2 * d) ** 2, h.beta3)
    return np.sum((m + h.beta2 * w) / (np.sqrt(n) + h.eps), axis=0)


ADAN = Optimizer(
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
    source="Xie et al. 2022, as released",  # arXiv 2208.06677, Algorithm 1
    claim=Claim(Kind.STATIONARY, "Xie et al. 2022", "bounded gradients and variance", one_sample),
    defaults={"lr": 1e-3, "beta1": 0.98, "beta2": 0.92, "eps": 1e-8},
    rule=always(
        adan,
        adan_corrections,
        hyper=hyper("lr", "beta1", "one_minus_beta1", "beta2", "one_minus_beta2", "beta3", "one_minus_beta3", "eps"),
        drift=adan_drift,
        mean=Mean(first_moment, only_without="beta2"),
    ),
    options=AdanOptions,
)
