"""Predicts where the iterates go, without simulation, from the periodic steady state of the moments.

If the gradients have period P and the step size is small and constant, m and v settle into a periodic steady state
with a closed form, and x moves by −α·D per period, where D = Σ_j m_j/(√v_j + ε) is the drift (docs/method.md,
*The boundary*). If D > 0, x goes to the low end of the interval; if D < 0, to the high end.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amsgrad_exp.errors import NoSteadyState
from amsgrad_exp.problems import LinearProblem, Problem
from amsgrad_exp.rules import OPTIMIZERS

if TYPE_CHECKING:
    from amsgrad_exp.rules.settings import OptimizerSettings
    from amsgrad_exp.spec.experiment import Trial

Floats = NDArray[np.float64]

LONGEST_PERIOD = 10_000
LARGEST_BETA2 = 1 - 1e-7  # upper end of the range searched
MOST_MOMENTS = 10_000_000  # held in memory at once


def drift(
    problem: Problem,
    optimizer: str,
    beta1: ArrayLike,
    beta2: ArrayLike,
    eps: ArrayLike = 0.0,
    options: Mapping[str, Any] | None = None,
) -> Floats:
    """The drift D: for a small constant step size α, x moves by −α·D per period. NaN if 0/0 occurs.

    The shapes of β1, β2 and ε broadcast to that of D.

    Raises:
        NoSteadyState: the problem is not linear, not periodic or has too long a period, or no closed form is known for
            the optimizer with these options of its own.
    """
    period = problem.steps_per_period
    if optimizer not in OPTIMIZERS:
        raise NoSteadyState(f"no steady state is known for {optimizer}")
    if period is None:
        raise NoSteadyState(f"{problem.name} is not periodic, so its moments have no steady state")
    if not isinstance(problem, LinearProblem):
        raise NoSteadyState(f"the gradients of {problem.name} depend on x, so its moments have no steady state")
    if period > LONGEST_PERIOD:
        raise NoSteadyState(f"a period of {period:,} steps is too long: at most {LONGEST_PERIOD:,} are supported")
    chosen = OPTIMIZERS[optimizer].options(**(options or {}))
    rule = OPTIMIZERS[optimizer].rule(chosen)
    if rule.drift is None:
        raise NoSteadyState(f"no steady state is known for {optimizer}")
    given = {"lr": 1.0, "beta1": beta1, "beta2": beta2, "eps": eps} | chosen.model_dump()
    total = np.empty(np.broadcast_shapes(*map(np.shape, given.values())))
    whole = {name: np.broadcast_to(np.asarray(given[name], np.float64), total.shape) for name in rule.settings}
    slopes = problem.coefficients(0, period).T
    at_once = max(1, MOST_MOMENTS // len(slopes))
    for begin in range(0, total.size, at_once):
        some = slice(begin, begin + at_once)
        with np.errstate(divide="ignore", invalid="ignore"):
            h = rule.hyper_from({name: array.flat[some] for name, array in whole.items()})
            total.flat[some] = rule.drift(slopes, h)
    return total


def drift_of(problem: Problem, settings: OptimizerSettings) -> float:
    """D of one optimizer at its own settings; errors as in `drift`."""
    beta1, beta2, eps = (value or 0.0 for value in (settings.beta1, settings.beta2, settings.eps))
    return float(drift(problem, settings.name, beta1, beta2, eps, settings.options))


def destination(problem: Problem, drift: ArrayLike) -> NDArray[np.str_]:
    """Where a drift takes the iterates: an array of "optimum" or "worst", of the drift's shape."""
    end = np.where(np.asarray(drift) > 0, *problem.comparators)
    return np.where(end == problem.optimum, "optimum", "worst")


def limit(trial: Trial) -> float:
    """The limit of R(T)/T that the drift predicts: the mean loss at the end x goes to, minus the mean loss at x*.

    The prediction is exact if α_t falls to 0 like α/√t, and approximate for a small constant step size.

    Raises:
        NoSteadyState: the drift is unknown or zero, or the interval is unbounded.
    """
    problem, optimizer = trial.problem, trial.optimizer
    known = drift_of(problem, optimizer)
    if not isinstance(problem, LinearProblem) or not math.isfinite(problem.interval[0] - problem.interval[1]):
        raise NoSteadyState(f"x is unbounded on {problem.name}, so R(T)/T has no limit")
    if not math.isfinite(known) or known == 0:
        raise NoSteadyState(f"the steady state of {optimizer.name} does not move x on {problem.name}")
    end = problem.low if known > 0 else problem.high
    return problem.mean_slope * (end - problem.optimum) + 0.0  # turns −0 into 0


def critical_beta2(
    problem: Problem, optimizer: str, beta1: float, eps: float = 0.0, options: Mapping[str, Any] | None = None
) -> list[float]:
    """Every β2 in [0, `LARGEST_BETA2`] at which the drift changes sign, ascending, with an error of at most 10⁻¹².

    A NoSteadyState is raised as in `drift`.
    """
    from scipy.optimize import brentq

    def at(gap: ArrayLike) -> Floats:
        return drift(problem, optimizer, beta1, 1 - 10 ** np.asarray(gap), eps, options)

    gaps = np.linspace(0, np.log10(1 - LARGEST_BETA2), 281)  # log10(1 − β2)
    signs = np.sign(at(gaps))
    crossings = np.flatnonzero(signs[1:] * signs[:-1] < 0)
    return [1 - 10 ** brentq(at, gaps[i], gaps[i + 1], xtol=1e-12) for i in crossings]


def regions(
    problem: Problem, optimizer: str, beta1: float, eps: float = 0.0, options: Mapping[str, Any] | None = None
) -> list[tuple[float, float, str]]:
    """Where the iterates go for every β2 from 0 to `LARGEST_BETA2`; a NoSteadyState is raised as in `drift`.

    Adjacent intervals are returned in ascending order: lower β2, upper β2, and "optimum" or "worst".
    """
    edges = [0.0, *critical_beta2(problem, optimizer, beta1, eps, options), LARGEST_BETA2]
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    ends = destination(problem, drift(problem, optimizer, beta1, middles, eps, options)).tolist()
    return [(low, high, end) for (low, high), end in zip(itertools.pairwise(edges), ends, strict=True)]
