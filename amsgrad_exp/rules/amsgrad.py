"""Defines AMSGrad, with Adam's bias corrections as in PyTorch, and the rules derived from it, AdamX and Padam.

AMSGrad has three dialects. torch's takes the maximum of the uncorrected v and corrects it afterwards. optax's takes the
maximum of the corrected v. The paper's corrects nothing, and its β1 may decay.
"""

from __future__ import annotations

import functools
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from amsgrad_exp.arithmetic import maximum, power, sqrt
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.claims import Claim, Kind, beta1_below_root_beta2
from amsgrad_exp.rules.moments import (
    DECAYING_FIRST_MOMENT,
    DECAYS,
    FIRST_MOMENT,
    DecayOptions,
    bias_corrected,
    decayed,
    moments,
    moments_and_maximum,
    steady_state,
    textbook_correction,
)
from amsgrad_exp.rules.rule import Hyper, Optimizer, Options, Rule, hyper


class AMSGradOptions(DecayOptions):
    """Dialects "torch" and "paper" and `optimized_update` are as in Adam; "optax" takes the maximum of the corrected v.
    `beta1_decay` and `lam` are as in AdamNC, and apply only to dialect "paper".
    """

    dialect: Literal["torch", "paper", "optax"] = "torch"
    optimized_update: bool = True

    @model_validator(mode="after")
    def _only_the_papers_beta1_decays(self) -> AMSGradOptions:
        if self.beta1_decay != "none" and self.dialect != "paper":
            raise ValueError(f"beta1_decay requires dialect paper, not {self.dialect}")
        return self


def update(g, a, c, h, exp_avg, exp_avg_sq, max_exp_avg_sq):
    """The update α_t·m_t/(√v̂_t + ε) with v̂_t = max(v̂, v_t)."""
    m, v, v_max = moments_and_maximum(g, h, exp_avg, exp_avg_sq, max_exp_avg_sq)
    return a * m / (sqrt(v_max) + h.eps), (m, v, v_max)


def textbook_update(g, a, c, h, exp_avg, exp_avg_sq, max_exp_avg_sq):
    """As `update`, but ε is added to the root of the corrected v̂; c is √(1 − β2^t)."""
    m, v, v_max = moments_and_maximum(g, h, exp_avg, exp_avg_sq, max_exp_avg_sq)
    return a * m / (sqrt(v_max) / c[0] + h.eps), (m, v, v_max)


def optax_update(g, a, c, h, exp_avg, exp_avg_sq, max_exp_avg_sq):
    """As `update` with v̂_t = max(v̂, v_t/(1 − β2^t)); c is 1 − β2^t."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    v_max = maximum(max_exp_avg_sq, v / c[0])
    return a * m / (sqrt(v_max) + h.eps), (m, v, v_max)


def optax_correction(t, scale, h, power1=1.0, power2=1.0):
    """Return α_t/(1 − β1^t), and 1 − β2^t, by which v is divided."""
    power1, power2 = decayed(power1, h.beta1), decayed(power2, h.beta2)
    return scale / (1.0 - power1), (1.0 - power2,), (power1, power2)


def paper_update(g, a, c, h, exp_avg, exp_avg_sq, max_exp_avg_sq):
    """As `update` without corrections, and with m_t = β1t·m + (1 − β1t)·g; c is (β1t, 1 − β1t)."""
    m = c[0] * exp_avg + c[1] * g
    v = h.beta2 * exp_avg_sq + h.one_minus_beta2 * g * g
    v_max = maximum(max_exp_avg_sq, v)
    return a * m / (sqrt(v_max) + h.eps), (m, v, v_max)


def drift(slopes, h):
    """D = Σ_j s_j/(√v̂ + ε) with v̂ = max_j v_j. It has the sign of Σ_j s_j for every β1."""
    return np.sum(slopes) / (np.sqrt(steady_state(slopes**2, h.beta2).max(axis=0)) + h.eps)


def optax_drift(slopes, h):
    """As `drift`, where v̂ is the largest corrected v of the first period.

    After k whole periods and j steps, corrected v is between that after j steps and that after one period.
    """
    v, power2, largest = np.zeros(np.shape(h.beta2)), np.ones(np.shape(h.beta2)), np.zeros(np.shape(h.beta2))
    for slope in slopes:
        v, power2 = h.beta2 * v + h.one_minus_beta2 * slope**2, power2 * h.beta2
        largest = np.maximum(largest, v / (1 - power2))
    return np.sum(slopes) / (np.sqrt(largest) + h.eps)


DECAYING = hyper("lr", "beta1", "beta2", "one_minus_beta2", "eps", "lam")
FOLDED = Rule(update, bias_corrected, drift=drift, mean=FIRST_MOMENT)
TEXTBOOK = Rule(textbook_update, textbook_correction, drift=drift, mean=FIRST_MOMENT)
OPTAX = Rule(optax_update, optax_correction, drift=optax_drift, mean=FIRST_MOMENT)


@functools.cache
def paper(kind: str) -> Rule:
    """Make the rule of the paper's dialect with one kind of decay of β1."""
    decay, start = DECAYS[kind]

    def coefficients(t, scale, h, power=start):
        beta1, power = decay(t, h, power)
        return scale, (beta1, 1.0 - beta1), (power,)

    return Rule(
        paper_update,
        coefficients,
        hyper=DECAYING,
        settles=kind != "harmonic",
        drift=drift,
        mean=DECAYING_FIRST_MOMENT,
    )


def rule(options: AMSGradOptions) -> Rule:
    """Make the rule of a dialect."""
    if options.dialect == "paper":
        return paper(options.beta1_decay)
    if options.dialect == "optax":
        return OPTAX
    return FOLDED if options.optimized_update else TEXTBOOK


AMSGRAD = Optimizer(
    title="AMSGrad",
    summary="Adam that divides by the root of the largest v so far",
    lines=(
        "m_t and v_t as Adam's",
        "v̂_t = max(v̂_{t−1}, v_t)",
        "x_{t+1} = x_t − α_t·√(1 − β2^t)/(1 − β1^t)·m_t/(√v̂_t + ε)",
    ),
    remarks=(
        "The paper uses no bias correction, and its β1 may decay: `dialect=paper` (with `beta1_decay`).",
        "optax takes the maximum of the corrected v, so that one large early gradient counts in full for ever: "
        "`dialect=optax`.",
        "AdaShift's authors put the maximum into v itself, v_t = max(β2·v_{t−1} + (1 − β2)·g_t², v_{t−1}). None of "
        "the dialects here does that.",
    ),
    source="Reddi, Kale and Kumar 2018, Algorithm 2",  # arXiv 1904.09237
    claim=Claim(
        Kind.REGRET,
        "Reddi, Kale and Kumar 2018, Theorem 4; with constant β1 Alacaoglu et al. 2020",
        "β1 < √β2, without bias correction",
        lambda settings: settings.options.get("dialect") == "paper" and beta1_below_root_beta2(settings),
    ),
    rule=rule,
    options=AMSGradOptions,
    torch="amsgrad_exp.optimizers.AMSGrad",
    variants=({"dialect": "paper"}, {"dialect": "optax"}),
)


def adamx_update(g, a, c, h, exp_avg, exp_avg_sq, max_exp_avg_sq):
    """As `paper_update` with v̂_t = max(c_2·v̂, v_t), c_2 = ((1 − β1t)/(1 − β1,t−1))²."""
    m = c[0] * exp_avg + c[1] * g
    v = h.beta2 * exp_avg_sq + h.one_minus_beta2 * g * g
    v_max = maximum(c[2] * max_exp_avg_sq, v)
    return a * m / (sqrt(v_max) + h.eps), (m, v, v_max)


@functools.cache
def adamx(kind: str) -> Rule:
    """Make the rule of AdamX with one kind of decay of β1."""
    decay, start = DECAYS[kind]

    def coefficients(t, scale, h, power=start, before=0.0):
        """Carry β1,t−1 along with the power until β1 no longer decays."""
        beta1, after = decay(t, h, power)
        growth = (1.0 - beta1) / (1.0 - before) if power > 0 else 1.0
        return scale, (beta1, 1.0 - beta1, growth * growth), (after, beta1 if after > 0 else 0.0)

    return Rule(
        adamx_update,
        coefficients,
        hyper=DECAYING,
        settles=kind != "harmonic",
        # If β1 decays, v̂ depends on the first steps, so the drift is not a function of one period's slopes.
        drift=drift if kind == "none" else None,
        mean=DECAYING_FIRST_MOMENT,
    )


ADAMX = Optimizer(
    title="AdamX",
    summary="AMSGrad with a correction of v̂ for a β1 that decays",
    lines=(
        "m_t = β1t·m_{t−1} + (1 − β1t)·g_t, v_t as Adam's",
        "v̂_t = max(((1 − β1t)/(1 − β1,t−1))²·v̂_{t−1}, v_t)",
        "x_{t+1} = x_t − α_t·m_t/(√v̂_t + ε)",
    ),
    remarks=(
        "torch.optim, optax and pytorch_optimizer lack it. With a constant β1, the default, it is AMSGrad in the "
        "paper's dialect.",
    ),
    source="Tran and Phong 2019, Algorithm 2",  # arXiv 1904.03590
    claim=Claim(
        Kind.REGRET,
        "Tran and Phong 2019, Theorem 5.1; with constant β1, where it is AMSGrad, Alacaoglu et al. 2020",
        "β1 < √β2",
        beta1_below_root_beta2,
    ),
    rule=lambda options: adamx(options.beta1_decay),
    options=DecayOptions,
)


class PadamOptions(Options):
    """`p` is the power of v̂ by which the update is divided; p = ½ is AMSGrad."""

    p: Annotated[Number, Field(gt=0, le=0.5)] = 0.125


PADAM_HYPER = hyper(*Hyper._fields, "p")
ROOTS = {2.0 ** -(roots + 1): roots for roots in range(4)}
"""The number of square roots for each p with 2p = 2^−roots."""


def padam_drift(slopes, h):
    """D = Σ_j m_j/(√v̂ + ε)^{2p} with v̂ = max_j v_j. It has the sign of Σ_j s_j."""
    m, v = steady_state(slopes, h.beta1), steady_state(slopes**2, h.beta2).max(axis=0)
    return np.sum(m / (np.sqrt(v) + h.eps) ** (2 * h.p), axis=0)


@functools.cache
def padam(roots: int | None) -> Rule:
    """Make Padam's rule; ``roots`` square roots, if given, replace the power and are fifty times as fast in batches."""
    count = roots or 0

    def update(g, a, c, h, exp_avg, exp_avg_sq, max_exp_avg_sq):
        m, v, v_max = moments_and_maximum(g, h, exp_avg, exp_avg_sq, max_exp_avg_sq)
        denominator = sqrt(v_max) + h.eps
        for _ in range(count):
            denominator = sqrt(denominator)
        return a * m / (power(denominator, h.p + h.p) if roots is None else denominator), (m, v, v_max)

    return Rule(update, bias_corrected, hyper=PADAM_HYPER, drift=padam_drift, mean=FIRST_MOMENT)


PADAM = Optimizer(
    title="Padam",
    summary="AMSGrad that divides by v̂ to a smaller power than ½",
    lines=(
        "m_t, v_t and v̂_t as AMSGrad's",
        "x_{t+1} = x_t − α_t·√(1 − β2^t)/(1 − β1^t)·m_t/(√v̂_t + ε)^{2p}",
    ),
    remarks=(
        "The authors' class has p = 1/4 by default. The default here, 1/8, is that of the examples in their README.",
        "pytorch_optimizer's PAdam takes no maximum: it is Adam with a power.",
    ),
    source="Chen et al. 2020, Algorithm 1",  # arXiv 1806.06763, bias-corrected as released
    claim=Claim(Kind.STATIONARY, "Zhou et al. 2018 (arXiv 1808.05671)", "bounded gradients, 0 < p ≤ 1/2"),
    defaults={"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    rule=lambda options: padam(ROOTS.get(options.p)),
    options=PadamOptions,
    grows=lambda options: {"lr": 1.0 - 2.0 * options.p},
)
