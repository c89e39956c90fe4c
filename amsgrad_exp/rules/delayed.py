"""Defines ACProp, AdaShift, ADOPT and AvaGrad, which divide a gradient by earlier ones only."""

from __future__ import annotations

import functools
import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from amsgrad_exp.arithmetic import maximum, minimum, sqrt
from amsgrad_exp.numbers import Integer
from amsgrad_exp.rules.claims import Claim, Kind
from amsgrad_exp.rules.moments import FIRST_MOMENT, GRADIENT, GRADIENT_WITHOUT_BETA1, decayed, moments, steady_state
from amsgrad_exp.rules.rule import Optimizer, Options, Rule, always, hyper


def acprop_update(g, a, c, h, exp_avg, exp_avg_var):
    """The update α_t·g/(√(s/(1 − β2^{t−1})) + ε) with s = s_{t−1} + ε; c is √(1 − β2^{t−1}), 0 for the first step."""
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    fresh = h.one_minus_beta2 * (g - m) * (g - m)
    if c[0] == 0:
        return a * g, (m, fresh)
    s = exp_avg_var + h.eps
    return a * g / (sqrt(s) / c[0] + h.eps), (m, h.beta2 * s + fresh)


def acprop_correction(t, scale, h, power2=1.0):
    """Return √(1 − β2^{t−1}), where t counts from 1; the power of the next step is carried."""
    return scale, (sqrt(1.0 - power2),), (decayed(power2, h.beta2),)


def acprop_drift(slopes, h):
    """D = Σ_j s_j/(√v_{j−1} + ε), where v averages (g − m)²; the ε of each step adds up to ε/(1 − β2) in v."""
    m = steady_state(slopes, h.beta1)
    v = steady_state((slopes - m) ** 2, h.beta2)
    before = np.roll(v, 1, axis=0) + h.eps / h.one_minus_beta2
    return np.sum(slopes / (np.sqrt(before) + h.eps), axis=0)


ACPROP = Optimizer(
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
    source="Zhuang et al. 2021, as released",  # arXiv 2110.05454
    claim=Claim(Kind.STATIONARY, "Zhuang et al. 2021", "bounded gradients"),
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-16},
    rule=always(acprop_update, acprop_correction, drift=acprop_drift, mean=GRADIENT),
)


class AdaShiftOptions(Options):
    """`n` is the number of latest gradients that v_t leaves out, and of which m_t is an average."""

    n: Annotated[Integer, Field(ge=1, le=100)] = 10


@functools.cache
def adashift(n: int) -> Rule:
    """Make the rule whose state is v and the last n gradients, newest first."""

    def update(g, a, c, h, exp_avg_sq, *grads):
        """c is (1 − β2^{t−n}, Σ_{i<n} β1^i); its first number is 0 for the first n steps, which do not move x."""
        latest = (g, *grads[:-1])
        if c[0] == 0:
            return a * exp_avg_sq, (exp_avg_sq, *latest)  # v is still 0
        oldest = grads[n - 1]
        v = h.beta2 * exp_avg_sq + h.one_minus_beta2 * oldest * oldest
        weighted = latest[n - 1]
        for i in range(n - 2, -1, -1):
            weighted = latest[i] + h.beta1 * weighted
        return a * weighted / c[1] / (sqrt(v / c[0]) + h.eps), (v, *latest)

    def coefficients(t, scale, h, power2=1.0):
        weights = 0.0
        for _ in range(n):
            weights = 1.0 + h.beta1 * weights
        if t < n and power2 > 0:
            return scale, (0.0, weights), (power2,)
        power2 = decayed(power2, h.beta2)
        return scale, (1.0 - power2, weights), (power2,)

    def drift(slopes, h):
        """D = Σ_j m_j/(√v_{j−n} + ε)."""
        v = np.roll(steady_state(slopes**2, h.beta2), n, axis=0)
        weights = [h.beta1**i for i in range(n)]
        m = sum(weight * np.roll(slopes, i) for i, weight in enumerate(weights)) / sum(weights)
        return np.sum(m / (np.sqrt(v) + h.eps), axis=0)

    return Rule(
        update,
        coefficients,
        state={"exp_avg_sq": 0.0} | {f"grad_{i}": 0.0 for i in range(1, n + 1)},
        drift=drift,
        mean=GRADIENT if n == 1 else GRADIENT_WITHOUT_BETA1,
    )


ADASHIFT = Optimizer(
    title="AdaShift",
    summary="Adam whose v leaves out the last n gradients",
    lines=(
        "m_t = Σ_{i<n} β1^i·g_{t−i}/Σ_{i<n} β1^i",
        "v_t = β2·v_{t−1} + (1 − β2)·g²_{t−n}",
        "x_{t+1} = x_t − α_t·m_t/(√(v_t/(1 − β2^{t−n})) + ε), from t = n + 1 on",
    ),
    remarks=(
        "The authors use the largest square within a block of parameters as g²_{t−n}. In one dimension a block has one "
        "element.",
        "The class of the ICLR reproduction starts m_t at 0 instead of at the first n gradients. The difference decays "
        "like β1^t.",
        "Version 3.9 of pytorch_optimizer is off by one step, so that n = 1 divides by the current gradient. Version "
        "4.1 is not.",
    ),
    source="Zhou et al. 2019, Algorithm 3",  # arXiv 1810.00143, in one dimension
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-10},
    rule=lambda options: adashift(options.n),
    options=AdaShiftOptions,
)


class ADOPTOptions(Options):
    """`clip` says whether divided gradients are clipped to ±s^{1/4} at the s-th step that updates x."""

    clip: bool = True


def adopt_update(g, a, c, h, exp_avg, exp_avg_sq):
    """The update α_t·m_t, where c bounds n_t. The first step, whose bound is 0, sets v to g² and does not update x."""
    if c[0] == 0:
        return a * exp_avg, (exp_avg, g * g)
    n = g / maximum(sqrt(exp_avg_sq), h.eps)
    n = maximum(minimum(n, c[0]), -c[0])
    m = h.beta1 * exp_avg + h.one_minus_beta1 * n
    return a * m, (m, h.beta2 * exp_avg_sq + h.one_minus_beta2 * g * g)


def clipped(t, scale, h, clipping=1.0):
    """Return the bound t^{1/4}, which grows without limit."""
    return scale, (sqrt(sqrt(t)),), (clipping,)


def unclipped(t, scale, h, first=1.0):
    """Return no bound after the first step."""
    return scale, (0.0 if first > 0 else math.inf,), (0.0,)


def adopt_drift(slopes, h):
    """D = Σ_j s_j/max(√v_{j−1}, ε), since β1 only spreads each term over later steps."""
    before = np.roll(steady_state(slopes**2, h.beta2), 1, axis=0)
    return np.sum(slopes / np.maximum(np.sqrt(before), h.eps), axis=0)


CLIPPED = Rule(adopt_update, clipped, settles=False, drift=adopt_drift, mean=GRADIENT_WITHOUT_BETA1)
UNCLIPPED = Rule(adopt_update, unclipped, drift=adopt_drift, mean=GRADIENT_WITHOUT_BETA1)

ADOPT = Optimizer(
    title="ADOPT",
    summary="momentum of gradients that are divided by the root of the previous v",
    lines=(
        "n_t = clip(g_t/max(√v_{t−1}, ε), ±(t − 1)^{1/4})",
        "m_t = β1·m_{t−1} + (1 − β1)·n_t",
        "x_{t+1} = x_t − α_t·m_t, and then v_t as Adam's; step t = 1 sets v_1 = g_1² and leaves x as it is",
    ),
    remarks=(
        "The paper's toy problem and the first releases do not clip: `clip=false`.",
        "pytorch_optimizer counts the first step, which does not update x, so that its clip is t^{1/4}. optax.contrib "
        "agrees with the rule here.",
    ),
    source="Taniguchi et al. 2024, Algorithm 2",  # arXiv 2411.02853; with clipping as released
    claim=Claim(Kind.STATIONARY, "Taniguchi et al. 2024", "E g² bounded, any β2"),
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.9999, "eps": 1e-6},
    rule=lambda options: CLIPPED if options.clip else UNCLIPPED,
    options=ADOPTOptions,
    variants=({"clip": False},),
)


class AvaGradOptions(Options):
    """`form` is that of the released code or of the published algorithm."""

    form: Literal["released", "published"] = "released"


def released_update(g, a, c, h, exp_avg, exp_avg_sq, gamma):
    """The update α_t·γ_t·m̂_t/(√(v/(1 − β2^{t−1})) + ε), then v_t, and γ_{t+1} = √(v/(1 − β2^t)) + ε with the old v.

    c is (√(1 − β2^{t−1}), √(1 − β2^t)); the first step, for which c_0 is 0, does not move x.
    """
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    following = sqrt(exp_avg_sq) / c[1] + h.eps
    if c[0] == 0:
        return a * exp_avg, (m, v, following)  # m is still 0
    return a * gamma * m / (sqrt(exp_avg_sq) / c[0] + h.eps), (m, v, following)


def published_update(g, a, c, h, exp_avg):
    """The update α_t·m_t·η_t/|η_t| with η_t = 1/(√v_{t−1} + ε) > 0."""
    m = h.beta1 * exp_avg + h.one_minus_beta1 * g
    return a * m, (m,)


def avagrad_correction(t, scale, h, power1=1.0, power2=1.0):
    """Return α_t/(1 − β1^t), √(1 − β2^{t−1}) and √(1 − β2^t), where t counts from 1."""
    power1, before, power2 = decayed(power1, h.beta1), power2, decayed(power2, h.beta2)
    return scale / (1.0 - power1), (sqrt(1.0 - before), sqrt(1.0 - power2)), (power1, power2)


def released_drift(slopes, h):
    """D = Σ_j m_j·(√v_{j−2} + ε)/(√v_{j−1} + ε)."""
    m, root = steady_state(slopes, h.beta1), np.sqrt(steady_state(slopes**2, h.beta2)) + h.eps
    return np.sum(m * np.roll(root, 2, axis=0) / np.roll(root, 1, axis=0), axis=0)


def published_drift(slopes, h):
    """D = Σ_j m_j = Σ_j s_j."""
    return np.full(np.shape(h.lr), np.sum(slopes))


RELEASED = Rule(released_update, avagrad_correction, drift=released_drift, mean=FIRST_MOMENT)
PUBLISHED = Rule(
    published_update, hyper=hyper("lr", "beta1", "one_minus_beta1"), drift=published_drift, mean=FIRST_MOMENT
)

# A norm over all parameters scales its step, so the published form is SGD with momentum in one dimension.
AVAGRAD = Optimizer(
    title="AvaGrad",
    summary="SGD with momentum, scaled by the ratio of the last two √v",
    lines=(
        "γ_t = √(v_{t−2}/(1 − β2^{t−1})) + ε",
        "x_{t+1} = x_t − α_t·γ_t/(1 − β1^t)·m_t/(√(v_{t−1}/(1 − β2^{t−1})) + ε), from t = 2 on",
        "m_t and v_t as Adam's",
    ),
    remarks=(
        "The paper divides by the norm of 1/(√v_{t−1} + ε) over all parameters. In one dimension that leaves SGD with "
        "momentum: `form=published`. The released code and pytorch_optimizer use the norm of the step before.",
    ),
    source="Savarese et al. 2021, as released",  # arXiv 1912.01823
    claim=Claim(Kind.STATIONARY, "Savarese et al. 2021", "bounded gradients, any ε > 0"),
    defaults={"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 0.1},
    rule=lambda options: RELEASED if options.form == "released" else PUBLISHED,
    options=AvaGradOptions,
    variants=({"form": "published"},),
    grows=lambda options: {"lr": 1.0},
)
