"""AMSGrad (Reddi, Kale and Kumar 2018, arXiv 1904.09237, Algorithm 2), with Adam's bias corrections as in PyTorch.

In three dialects: torch's takes the maximum of v as it is and corrects it afterwards; optax's the maximum of corrected
v; the paper corrects nothing, and its β1 may decay.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
from pydantic import model_validator

from amsgrad_exp.arithmetic import maximum, sqrt
from amsgrad_exp.rules.adam import moments, textbook_correction
from amsgrad_exp.rules.claims import Claim, Kind, of_the_paper
from amsgrad_exp.rules.decay import DECAYS, DecayOptions
from amsgrad_exp.rules.mean import DECAYING_FIRST_MOMENT, FIRST_MOMENT
from amsgrad_exp.rules.rule import Floats, Hyper, Optimizer, Rule, bias_corrected, decayed, hyper, steady_state


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


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any) -> Any:
    """The update α_t·m_t/(√v̂_t + ε) with v̂_t = max(v̂, v_t)."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    v_max = maximum(max_exp_avg_sq, v)
    return a * m / (sqrt(v_max) + h.eps), (m, v, v_max)


def textbook_update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any) -> Any:
    """As `update`, but ε is added to the root of the corrected v̂; c is √(1 − β2^t)."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    v_max = maximum(max_exp_avg_sq, v)
    return a * m / (sqrt(v_max) / c[0] + h.eps), (m, v, v_max)


def optax_update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any) -> Any:
    """As `update` with v̂_t = max(v̂, v_t/(1 − β2^t)); c is 1 − β2^t."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    v_max = maximum(max_exp_avg_sq, v / c[0])
    return a * m / (sqrt(v_max) + h.eps), (m, v, v_max)


def optax_correction(t: Any, scale: Any, h: Any, power1: Any, power2: Any) -> Any:
    """α_t/(1 − β1^t), and 1 − β2^t to divide v by."""
    power1, power2 = decayed(power1, h.beta1), decayed(power2, h.beta2)
    return scale / (1.0 - power1), (1.0 - power2,), (power1, power2)


def paper_update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any) -> Any:
    """As `update` without corrections, and with m_t = β1t·m + (1 − β1t)·g; c is (β1t, 1 − β1t)."""
    m = c[0] * exp_avg + c[1] * g
    v = h.beta2 * exp_avg_sq + h.one_minus_beta2 * g * g
    v_max = maximum(max_exp_avg_sq, v)
    return a * m / (sqrt(v_max) + h.eps), (m, v, v_max)


def drift(slopes: Floats, h: Any) -> Floats:
    """D = Σ_j s_j/(√v̂ + ε) with v̂ = max_j v_j. It has the sign of Σ_j s_j for every β1."""
    v = steady_state(slopes**2, h.beta2).max(axis=0)
    total: Floats = np.sum(slopes) / (np.sqrt(v) + h.eps)
    return total


def optax_drift(slopes: Floats, h: Hyper) -> Floats:
    """As `drift`, v̂ being the largest corrected v of the first period.

    After k whole periods and j steps, corrected v is between that after j steps and that after one period.
    """
    v, power, largest = np.zeros(np.shape(h.beta2)), np.ones(np.shape(h.beta2)), np.zeros(np.shape(h.beta2))
    for slope in slopes:
        v, power = h.beta2 * v + h.one_minus_beta2 * slope**2, power * h.beta2
        largest = np.maximum(largest, v / (1 - power))
    total: Floats = np.sum(slopes) / (np.sqrt(largest) + h.eps)
    return total


DECAYING = hyper("lr", "beta1", "beta2", "one_minus_beta2", "eps", "lam")
MOMENTS = {"exp_avg": 0.0, "exp_avg_sq": 0.0, "max_exp_avg_sq": 0.0}
FOLDED = Rule(update, MOMENTS, bias_corrected, (1.0, 1.0), drift=drift, mean=FIRST_MOMENT)
TEXTBOOK = Rule(textbook_update, MOMENTS, textbook_correction, (1.0, 1.0), drift=drift, mean=FIRST_MOMENT)
OPTAX = Rule(optax_update, MOMENTS, optax_correction, (1.0, 1.0), drift=optax_drift, mean=FIRST_MOMENT)


@functools.cache
def paper(kind: str) -> Rule:
    """The paper's dialect with one kind of decay of β1."""
    decay, start = DECAYS[kind]

    def coefficients(t: Any, scale: Any, h: Any, power: Any) -> Any:
        beta1, power = decay(t, h, power)
        return scale, (beta1, 1.0 - beta1), (power,)

    return Rule(
        paper_update,
        MOMENTS,
        coefficients,
        (start,),
        hyper=DECAYING,
        settles=kind != "harmonic",
        drift=drift,
        mean=DECAYING_FIRST_MOMENT,
    )


def rule(options: AMSGradOptions) -> Rule:
    """The rule of a dialect."""
    if options.dialect == "paper":
        return paper(options.beta1_decay)
    if options.dialect == "optax":
        return OPTAX
    return FOLDED if options.optimized_update else TEXTBOOK


OPTIMIZER = Optimizer(
    title="AMSGrad",
    summary="Adam that divides by the root of the largest v so far",
    lines=(
        "m_t and v_t as Adam's",
        "v̂_t = max(v̂_{t−1}, v_t)",
        "x_{t+1} = x_t − α_t·√(1 − β2^t)/(1 − β1^t)·m_t/(√v̂_t + ε)",
    ),
    remarks=(
        "The paper uses no bias correction, and its β1 may decay: `dialect: paper` (with `beta1_decay`).",
        "optax takes the maximum of the corrected v, so that one large early gradient counts in full for ever: "
        "`dialect: optax`.",
        "AdaShift's authors put the maximum into v itself, v_t = max(β2·v_{t−1} + (1 − β2)·g_t², v_{t−1}). None of "
        "the dialects here does that.",
    ),
    source="Reddi, Kale and Kumar 2018, Algorithm 2",
    claim=Claim(
        Kind.REGRET,
        "Reddi, Kale and Kumar 2018, Theorem 4; with constant β1 Alacaoglu et al. 2020",
        "β1 < √β2, without bias correction",
        of_the_paper,
    ),
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    rule=rule,
    options=AMSGradOptions,
    torch="amsgrad_exp.optimizers.AMSGrad",
    variants=({"dialect": "paper"}, {"dialect": "optax"}),
)
