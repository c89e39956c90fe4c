"""Defines SGD, signSGD and Lion, which follow the gradient, its sign, or the sign of an average of it."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from amsgrad_exp.arithmetic import sign
from amsgrad_exp.numbers import Number
from amsgrad_exp.rules.claims import Claim, Kind, one_sample
from amsgrad_exp.rules.moments import GRADIENT, GRADIENT_WITHOUT_BETA1, steady_state
from amsgrad_exp.rules.rule import Mean, Optimizer, Options, always, hyper


class SGDOptions(Options):
    """`momentum` is μ."""

    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0


def sgd_update(g, a, c, h, momentum_buffer):
    """The update α_t·b_t with b_t = μ·b + g."""
    b = h.momentum * momentum_buffer + g
    return a * b, (b,)


def sgd_drift(slopes, h):
    """D = Σ_j s_j/(1 − μ). It always has the sign of the mean gradient."""
    return np.sum(slopes) / (1 - np.asarray(h.momentum))


def heavy_ball(g, c, h, momentum_buffer):
    """Return `Mean.of`: (1 − μ)·b_t with b_t = μ·b + g, and μ."""
    return (1.0 - h.momentum) * momentum_buffer, h.momentum


SGD = Optimizer(
    title="SGD",
    summary="the gradient, or with momentum a decaying sum of gradients",
    lines=(
        "b_t = μ·b_{t−1} + g_t",
        "x_{t+1} = x_t − α_t·b_t",
    ),
    source="Robbins and Monro 1951; Polyak 1964",  # momentum as in torch.optim
    claim=Claim(
        Kind.REGRET,
        "Zinkevich 2003, Theorem 1",
        "no momentum",
        lambda settings: not settings.options.get("momentum"),
    ),
    defaults={"lr": 1e-3},
    rule=always(sgd_update, hyper=hyper("lr", "momentum"), drift=sgd_drift, mean=Mean(heavy_ball)),
    options=SGDOptions,
    torch="torch.optim.SGD",
    grows=lambda options: {"lr": 1.0},
)


def signsgd_update(g, a, c, h):
    """The update α_t·sign(g)."""
    return a * sign(g), ()


def signsgd_drift(slopes, h):
    """D = Σ_j sign(s_j)."""
    return np.full(np.shape(h.lr), np.sum(np.sign(slopes)))


SIGNSGD = Optimizer(
    title="SignSGD",
    summary="the sign of the gradient",
    lines=("x_{t+1} = x_t − α_t·sign(g_t)",),
    remarks=(
        "It is Adam with β1 = β2 = ε = 0.",
        "pytorch_optimizer's SignSGD takes the sign of a moving average unless `momentum=0`. optax calls that signum.",
    ),
    source="Bernstein et al. 2018, Algorithm 1",  # arXiv 1802.04434
    claim=Claim(Kind.STATIONARY, "Bernstein et al. 2018, Theorem 1", "batches that grow", one_sample),
    defaults={"lr": 1e-3},
    rule=always(signsgd_update, hyper=hyper("lr"), drift=signsgd_drift, mean=GRADIENT),
)


def lion_update(g, a, c, h, exp_avg):
    """The update α_t·sign(β1·m + (1 − β1)·g), after which m becomes m_t."""
    ahead = h.beta1 * exp_avg + h.one_minus_beta1 * g
    return a * sign(ahead), (h.beta2 * exp_avg + h.one_minus_beta2 * g,)


def lion_drift(slopes, h):
    """D = Σ_j sign(β1·m_{j−1} + (1 − β1)·s_j)."""
    before = np.roll(steady_state(slopes, h.beta2), 1, axis=0)
    return np.sum(np.sign(h.beta1 * before + h.one_minus_beta1 * slopes), axis=0)


LION = Optimizer(
    title="Lion",
    summary="the sign of an average that gives the newest gradient extra weight",
    lines=(
        "x_{t+1} = x_t − α_t·sign(β1·m_{t−1} + (1 − β1)·g_t)",
        "m_t = β2·m_{t−1} + (1 − β2)·g_t",
    ),
    remarks=(
        "The paper's algorithm also has decoupled weight decay. There is none here; optax's default for it is 10⁻³.",
    ),
    source="Chen et al. 2023, Algorithm 2",  # arXiv 2302.06675
    defaults={"lr": 1e-4, "beta1": 0.9, "beta2": 0.99},
    rule=always(
        lion_update,
        hyper=hyper("lr", "beta1", "one_minus_beta1", "beta2", "one_minus_beta2"),
        drift=lion_drift,
        mean=GRADIENT_WITHOUT_BETA1,
    ),
)
