"""AdaShift (Zhou et al. 2019, arXiv 1810.00143, Algorithm 3, in one dimension)."""

from __future__ import annotations

import functools
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from amsgrad_exp.arithmetic import sqrt
from amsgrad_exp.numbers import Integer
from amsgrad_exp.rules.claims import NOTHING
from amsgrad_exp.rules.mean import GRADIENT, GRADIENT_WITHOUT_BETA1
from amsgrad_exp.rules.rule import Floats, Hyper, Optimizer, Options, Rule, alongside, decayed, steady_state


class AdaShiftOptions(Options):
    """n: v_t leaves out the last n gradients, and m_t is an average of these n."""

    n: Annotated[Integer, Field(ge=1, le=100)] = 10


@functools.cache
def with_shift(n: int) -> Rule:
    """The rule whose state is v and the last n gradients, newest first."""

    def update(g: Any, a: Any, c: Any, h: Any, exp_avg_sq: Any, *grads: Any) -> Any:
        """m_t = Σ_{i<n} β1^i·g_{t−i} / Σ_{i<n} β1^i, v_t = β2·v + (1 − β2)·g²_{t−n}, update α_t·m_t/(√(v_t/c) + ε).

        c is (1 − β2^{t−n}, Σ_{i<n} β1^i), and 0 for the first n steps, which do not move x.
        """
        if c[0] == 0:
            return a * exp_avg_sq, (exp_avg_sq, g, *grads[:-1])  # v is still 0
        oldest = grads[n - 1]
        v = h.beta2 * exp_avg_sq + h.one_minus_beta2 * oldest * oldest
        weighted = g
        if n > 1:
            weighted = grads[n - 2]
            for i in range(n - 3, -1, -1):
                weighted = grads[i] + h.beta1 * weighted
            weighted = g + h.beta1 * weighted
        return a * weighted / c[1] / (sqrt(v / c[0]) + h.eps), (v, g, *grads[:-1])

    def coefficients(t: Any, scale: Any, h: Any, power2: Any) -> Any:
        weights = 0.0
        for _ in range(n):
            weights = 1.0 + h.beta1 * weights
        if t < n and power2 > 0:
            return scale, (0.0, weights), (power2,)
        power2 = decayed(power2, h.beta2)
        return scale, (1.0 - power2, weights), (power2,)

    def drift(slopes: Floats, h: Hyper) -> Floats:
        """D = Σ_j m_j/(√v_{j−n} + ε)."""
        v = np.roll(steady_state(slopes**2, h.beta2), n, axis=0)
        weights = [h.beta1**i for i in range(n)]
        m = sum(weight * alongside(np.roll(slopes, i), v) for i, weight in enumerate(weights)) / sum(weights)
        total: Floats = np.sum(m / (np.sqrt(v) + h.eps), axis=0)
        return total

    return Rule(
        update,
        {"exp_avg_sq": 0.0} | {f"grad_{i}": 0.0 for i in range(1, n + 1)},
        coefficients,
        (1.0,),
        drift=drift,
        mean=GRADIENT if n == 1 else GRADIENT_WITHOUT_BETA1,
    )


OPTIMIZER = Optimizer(
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
    source="Zhou et al. 2019, Algorithm 3",
    claim=NOTHING,
    defaults={"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-10},
    rule=lambda options: with_shift(options.n),
    options=AdaShiftOptions,
)
