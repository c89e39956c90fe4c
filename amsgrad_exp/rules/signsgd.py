"""signSGD (Bernstein et al. 2018, arXiv 1802.04434, Algorithm 1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from amsgrad_exp.arithmetic import sign
from amsgrad_exp.rules.claims import Claim, Kind, one_sample
from amsgrad_exp.rules.mean import GRADIENT
from amsgrad_exp.rules.rule import Floats, Optimizer, Rule, hyper, uncorrected


def update(g: Any, a: Any, c: Any, h: Any) -> Any:
    """The update α_t·sign(g): Adam with β1 = β2 = ε = 0."""
    return a * sign(g), ()


def drift(slopes: Floats, h: Any) -> Floats:
    """D = Σ_j sign(s_j)."""
    return np.full(np.shape(h.lr), np.sum(np.sign(slopes)))


RULE = Rule(update, {}, uncorrected, (), hyper=hyper("lr"), drift=drift, mean=GRADIENT)

OPTIMIZER = Optimizer(
    title="SignSGD",
    summary="the sign of the gradient",
    lines=("x_{t+1} = x_t − α_t·sign(g_t)",),
    remarks=(
        "It is Adam with β1 = β2 = ε = 0.",
        "pytorch_optimizer's SignSGD takes the sign of a moving average unless `momentum=0`. optax calls that signum.",
    ),
    source="Bernstein et al. 2018, Algorithm 1",
    claim=Claim(
        Kind.STATIONARY,
        "Bernstein et al. 2018, Theorem 1",
        "batches that grow",
        one_sample,
    ),
    defaults={"lr": 1e-3},
    rule=lambda options: RULE,
)
