"""Where the iterates go, without simulating a step: the periodic steady state of the moments and its drift.

On slopes of period P and for a small constant step size, m and v settle into a periodic steady state that has a
closed form, and x moves by −α·D per period, D = Σ_j m_j/(√v_j + ε) (docs/method.md, *The boundary*). Where D > 0 it
goes to the low end of the interval, where D < 0 to the high end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amsgrad_exp.errors import NoSteadyState
from amsgrad_exp.problems.base import Problem

Floats = NDArray[np.float64]

LONGEST_PERIOD = 10_000
LARGEST_BETA2 = 1 - 1e-7  # looked at
MOST_MOMENTS = 10_000_000  # kept in memory at once

# How each optimizer's denominator follows from v over a period, (P, …).
DENOMINATORS: dict[str, Callable[[Floats], Floats]] = {
    "adam": lambda v: v,
    "amsgrad": lambda v: np.broadcast_to(v.max(axis=0), v.shape),
}


def steady_state(sequence: Floats, beta: ArrayLike) -> Floats:
    """The exponential average of a sequence that has been repeated for ever.

    y_j = β·y_{j−1} + (1 − β)·s_j with y_{j+P} = y_j, so y_{P−1} = (1 − β)/(1 − β^P) · Σ_i β^i·s_{P−1−i}.

    Args:
        sequence: s, float64 of shape (P,).
        beta: in [0, 1), of any shape.

    Returns:
        y, float64 of shape (P, *beta.shape).
    """
    beta = np.asarray(beta, np.float64)
    y = np.zeros(beta.shape)
    for number in sequence:
        y = beta * y + (1 - beta) * number
    y = y / -np.expm1(len(sequence) * np.log(beta, where=beta > 0, out=np.full(beta.shape, -np.inf)))
    states = np.empty((len(sequence), *beta.shape))
    for j, number in enumerate(sequence):
        y = beta * y + (1 - beta) * number
        states[j] = y
    return states


def drift(problem: Problem, optimizer: str, beta1: ArrayLike, beta2: ArrayLike, eps: ArrayLike = 0.0) -> Floats:
    """D = Σ_j m_j/(√v̂_j + ε) over a period: −D·α is how far x moves in one. NaN where 0/0 occurs.

    Args:
        problem: periodic.
        optimizer: a name in `DENOMINATORS`.
        beta1, beta2, eps: of shapes that broadcast together.

    Returns:
        D, float64 of the broadcast shape.

    Raises:
        NoSteadyState: the problem is not periodic or its period too long, or nothing is known of the optimizer.
    """
    if problem.steps_per_period is None:
        raise NoSteadyState(f"{problem.name} is not periodic, so its moments have no steady state")
    if problem.steps_per_period > LONGEST_PERIOD:
        raise NoSteadyState(f"a period of {problem.steps_per_period:,} steps is too long, at most {LONGEST_PERIOD:,}")
    if optimizer not in DENOMINATORS:
        raise NoSteadyState(f"no steady state is known for {optimizer}")
    beta1, beta2, eps = np.broadcast_arrays(*(np.asarray(it, np.float64) for it in (beta1, beta2, eps)))
    slopes = problem.slopes(0, problem.steps_per_period)
    total = np.empty(beta1.shape)
    at_once = max(1, MOST_MOMENTS // len(slopes))
    for begin in range(0, total.size, at_once):
        some = slice(begin, begin + at_once)
        m = steady_state(slopes, beta1.flat[some])
        v = DENOMINATORS[optimizer](steady_state(slopes**2, beta2.flat[some]))
        with np.errstate(divide="ignore", invalid="ignore"):
            total.flat[some] = np.sum(m / (np.sqrt(v) + eps.flat[some]), axis=0)
    return total


def destination(problem: Problem, drift: ArrayLike) -> NDArray[np.str_]:
    """Where a drift takes the iterates: "optimum" or "worst", of the drift's shape."""
    end = np.where(np.asarray(drift) > 0, problem.low, problem.high)
    return np.where(end == problem.optimum, "optimum", "worst")


def critical_beta2(problem: Problem, optimizer: str, beta1: float, eps: float = 0.0) -> list[float]:
    """Every β2 between 0 and `LARGEST_BETA2` at which the drift changes its sign, ascending, to 10⁻¹² or better.

    Raises:
        NoSteadyState: as for `drift`.
    """
    from scipy.optimize import brentq

    def at(gap: ArrayLike) -> Floats:
        return drift(problem, optimizer, beta1, 1 - 10 ** np.asarray(gap), eps)

    gaps = np.linspace(0, np.log10(1 - LARGEST_BETA2), 281)  # log10(1 − β2)
    signs = np.sign(at(gaps))
    crossings = np.flatnonzero(signs[1:] * signs[:-1] < 0)
    return [1 - 10 ** brentq(at, gaps[i], gaps[i + 1], xtol=1e-12) for i in crossings]


def regions(problem: Problem, optimizer: str, beta1: float, eps: float = 0.0) -> list[tuple[float, float, str]]:
    """Where the iterates go for every β2 from 0 to `LARGEST_BETA2`.

    Returns:
        Ascending and without a gap: between which β2, and to which end, "optimum" or "worst".

    Raises:
        NoSteadyState: as for `drift`.
    """
    edges = [0.0, *critical_beta2(problem, optimizer, beta1, eps), LARGEST_BETA2]
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    ends = destination(problem, drift(problem, optimizer, beta1, middles, eps)).tolist()
    return [(low, high, end) for (low, high), end in zip(itertools.pairwise(edges), ends, strict=True)]
