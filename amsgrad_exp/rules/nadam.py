"""NAdam (Dozat 2016, *Incorporating Nesterov Momentum into Adam*, with the momentum schedule of torch.optim)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from amsgrad_exp.arithmetic import power, sqrt
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.adam import MOMENTS, moments
from amsgrad_exp.rules.claims import NOTHING
from amsgrad_exp.rules.mean import GRADIENT_WITHOUT_BETA1
from amsgrad_exp.rules.rule import Floats, Hyper, Optimizer, Options, Rule, alongside, decayed, hyper, steady_state


class NAdamOptions(Options):
    """ψ: how fast μ_t rises from β1/2 to β1."""

    momentum_decay: Annotated[Number, Field(ge=0)] = 0.004


def update(g: Any, a: Any, c: Any, h: Any, exp_avg: Any, exp_avg_sq: Any) -> Any:
    """The update α_t·(c_0·g + c_1·m_t)/(√(v_t/(1 − β2^t)) + ε); c_2 is √(1 − β2^t)."""
    m, v = moments(g, h, exp_avg, exp_avg_sq)
    return a * (c[0] * g + c[1] * m) / (sqrt(v) / c[2] + h.eps), (m, v)


def momenta(t: Any, scale: Any, h: Any, mu_product: Any, unsettled: Any, power2: Any) -> Any:
    """(1 − μ_t)/(1 − Π_{i≤t} μ_i) and μ_{t+1}/(1 − Π_{i≤t+1} μ_i), μ_t = β1·(1 − 0.96^{tψ}/2), t counted from 1.

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


def drift(slopes: Floats, h: Any) -> Floats:
    """D = Σ_j (β1·m_j + (1 − β1)·s_j)/(√v_j + ε)."""
    m, v = steady_state(slopes, h.beta1), steady_state(slopes**2, h.beta2)
    ahead = h.beta1 * m + h.one_minus_beta1 * alongside(slopes, m)
    total: Floats = np.sum(ahead / (np.sqrt(v) + h.eps), axis=0)
    return total


HYPER = hyper(*Hyper._fields, "momentum_decay")
RULE = Rule(update, MOMENTS, momenta, (1.0, 1.0, 1.0), hyper=HYPER, drift=drift, mean=GRADIENT_WITHOUT_BETA1)

# Its class is made from the rule: torch.optim's keeps Π μ_i, mu_product, in float32 even for parameters in float64.
OPTIMIZER = Optimizer(
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
    source="Dozat 2016, as in torch.optim",
    claim=NOTHING,
    defaults={"lr": 2e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    rule=lambda options: RULE,
    options=NAdamOptions,
    kept_by_torch=("mu_product",),
)
