"""One update rule per optimizer: how its moments and its denominator follow from a gradient.

A rule is a plain function of scalars, called from compiled loops and, in tests, from Python. It takes

    grad, exp_avg, exp_avg_sq, max_exp_avg_sq, beta1, one_minus_beta1, beta2, one_minus_beta2

and returns the new (exp_avg, exp_avg_sq, max_exp_avg_sq) and the second moment to divide by, all uncorrected and
all of one dtype. 1 − β is passed beside β because it is rounded once, from double precision. Products associate as
in torch's kernels, so that both engines round alike wherever torch does not fuse.
"""

from __future__ import annotations

from collections.abc import Callable

Moments = tuple[float, float, float, float]
Rule = Callable[[float, float, float, float, float, float, float, float], Moments]


def adam(
    grad: float,
    exp_avg: float,
    exp_avg_sq: float,
    max_exp_avg_sq: float,
    beta1: float,
    one_minus_beta1: float,
    beta2: float,
    one_minus_beta2: float,
) -> Moments:
    """m_t = β1·m + (1 − β1)·g, v_t = β2·v + (1 − β2)·g² (Kingma and Ba 2015, Algorithm 1)."""
    exp_avg = beta1 * exp_avg + one_minus_beta1 * grad
    exp_avg_sq = beta2 * exp_avg_sq + one_minus_beta2 * grad * grad
    return exp_avg, exp_avg_sq, max_exp_avg_sq, exp_avg_sq


def amsgrad(
    grad: float,
    exp_avg: float,
    exp_avg_sq: float,
    max_exp_avg_sq: float,
    beta1: float,
    one_minus_beta1: float,
    beta2: float,
    one_minus_beta2: float,
) -> Moments:
    """Adam's moments, and v̂_t = max(v̂, v_t) to divide by (Reddi et al. 2018, Algorithm 2)."""
    exp_avg, exp_avg_sq, max_exp_avg_sq, v = adam(
        grad, exp_avg, exp_avg_sq, max_exp_avg_sq, beta1, one_minus_beta1, beta2, one_minus_beta2
    )
    max_exp_avg_sq = max(max_exp_avg_sq, v)
    return exp_avg, exp_avg_sq, max_exp_avg_sq, max_exp_avg_sq


RULES: dict[str, Rule] = {"adam": adam, "amsgrad": amsgrad}
