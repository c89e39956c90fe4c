"""Computes the regret bounds that papers publish for AMSGrad and AdamNC, with known misprints corrected.

One dimension, α_t = α/√t, t counted from 1, 0 ≤ β1t ≤ β1 < 1, D the width of the interval and ‖g‖ = √(Σ_{t≤T} g_t²).
For ε > 0, ψ_t = √v̂_t + ε replaces the √v̂_t of the papers: their proofs require only that ψ_t is at least √v_t and
that ψ_t/α_t does not decrease. docs/method.md, *The regret bound*, derives both bounds from the trajectory's bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.bounds.trajectory import CHUNK, refuse, shown_steps
from amsgrad_exp.errors import NoBound
from amsgrad_exp.problems import LinearProblem
from amsgrad_exp.rules import hyper_of, options_of

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

Floats = NDArray[np.float64]
Roots = Iterator[tuple[Floats, Floats, Floats]]


@dataclass(frozen=True, eq=False)
class Published:
    """A published bound on R(T), T = t + 1, at every logged step t and at the last step.

    Attributes:
        source: the paper and the theorem.
        step: t, counted from 0; int64 of shape (n,).
        total: the bound; float64 of shape (n,).
    """

    source: str
    step: NDArray[np.int64]
    total: Floats

    def rows(self, rows: NDArray[np.int64]) -> Published:
        """The bound at the given rows."""
        return Published(self.source, self.step[rows], self.total[rows])


def published(trial: Trial, steps: int | None = None) -> Published:
    """The published bound for a trial's optimizer, after ``steps`` steps (default: all of the trial's).

    Raises:
        NoBound: no theorem is implemented for the optimizer, or a condition of the theorem does not hold.
    """
    steps = trial.steps if steps is None else steps
    refuse(trial, steps)
    known = THEOREMS.get(trial.optimizer.name)
    if known is None:
        raise NoBound(f"no published regret bound is implemented for {trial.optimizer.name}")
    source, theorem = known
    low, high = trial.problem.interval
    if trial.schedule != "inv-sqrt":
        raise NoBound(f"{source} requires schedule inv-sqrt, not {trial.schedule}")
    if not (isinstance(trial.problem, LinearProblem) and math.isfinite(high - low)):
        raise NoBound(f"{source} requires a linear loss on a bounded interval: {trial.problem.name} has none")
    return Published(source, shown_steps(0, steps, trial.log_every, steps), theorem(trial, steps))


def amsgrad(trial: Trial, steps: int) -> Floats:
    """Theorem 4 of Reddi, Kale and Kumar 2018, as printed in the proceedings; γ = β1/√β2 < 1.

    R(T) ≤ D²·ψ_T/(α_T·(1 − β1)) + D²/(1 − β1)²·Σ_t β1t·ψ_t/α_t + α·√(1 + ln T)/((1 − β1)²(1 − γ)√(1 − β2))·‖g‖.
    """
    beta1, beta2 = hyper_of(trial.optimizer).beta1, hyper_of(trial.optimizer).beta2
    dialect = options_of(trial.optimizer).dialect
    if dialect != "paper":
        raise NoBound(f"{THEOREMS['amsgrad'][0]} requires dialect paper, not {dialect}")
    if not beta1 < math.sqrt(beta2):
        raise NoBound(f"{THEOREMS['amsgrad'][0]} requires β1 < √β2, not β1 = {beta1:g} and β2 = {beta2:g}")
    third = trial.optimizer.lr / ((1 - beta1) ** 2 * (1 - beta1 / math.sqrt(beta2)) * math.sqrt(1 - beta2))
    return _total(trial, steps, _largest_averages(trial, steps), 1.0, lambda t: third * np.sqrt(1 + np.log(t)))


def adamnc(trial: Trial, steps: int) -> Floats:
    """Theorem 5 of Reddi, Kale and Kumar 2018 with β2t = 1 − 1/t, for which its ζ is α.

    R(T) ≤ D²·ψ_T/(2α_T·(1 − β1)) + D²/(1 − β1)²·Σ_t β1t·ψ_t/α_t + 2α/(1 − β1)³·‖g‖.

    For ε = 0, ψ_t/α_t = ‖g_{1:t}‖/α. For β1t = β1·λ^{t−1} the sum is at most β1·G/(α(1 − λ)²), G = max |g_t|. This
    gives Corollary 2, including the factor 1/α that is missing in print.
    """
    third = 2 * trial.optimizer.lr / (1 - hyper_of(trial.optimizer).beta1) ** 3
    return _total(trial, steps, _means(trial, steps), 0.5, lambda t: np.full(len(t), third))


THEOREMS: dict[str, tuple[str, Callable[[Trial, int], Floats]]] = {
    "amsgrad": ("Theorem 4 of Reddi, Kale and Kumar 2018", amsgrad),
    "adamnc": ("Theorem 5 of Reddi, Kale and Kumar 2018", adamnc),
}


def _total(trial: Trial, steps: int, roots: Roots, first: float, third: Callable[[Floats], Floats]) -> Floats:
    """D²/(1 − β1)·first·ψ_T/α_T + D²/(1 − β1)²·Σ_t β1t·ψ_t/α_t + third(T)·‖g‖ at the logged steps."""
    low, high = trial.problem.interval
    h = hyper_of(trial.optimizer)
    factor = (high - low) ** 2 / (1 - h.beta1)
    so_far, pieces = 0.0, []
    for t, root, squares in roots:
        over = (root + h.eps) * np.sqrt(t) / h.lr
        sums = so_far + np.cumsum(_beta1(trial, t) * over)
        so_far = float(sums[-1])
        at = shown_steps(int(t[0]) - 1, int(t[-1]), trial.log_every, steps) - (int(t[0]) - 1)
        total = first * over + sums / (1 - h.beta1)
        pieces.append(factor * total[at] + third(t[at]) * np.sqrt(squares[at]))
    return np.concatenate(pieces)


def _beta1(trial: Trial, t: Floats) -> Any:
    """β1t."""
    options, beta1 = options_of(trial.optimizer), hyper_of(trial.optimizer).beta1
    if options.beta1_decay == "geometric":
        return beta1 * options.lam ** (t - 1)
    return beta1 / t if options.beta1_decay == "harmonic" else np.full(len(t), beta1)


def _squares(trial: Trial, steps: int) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Chunks of t (counted from 1), g_t² and Σ_{s≤t} g_s²."""
    total = 0.0
    for start in range(0, steps, CHUNK):
        stop = min(start + CHUNK, steps)
        squares = trial.problem.coefficients(start, stop, trial.seed)[0] ** 2
        sums = total + np.cumsum(squares)
        total = float(sums[-1])
        yield np.arange(start + 1.0, stop + 1.0), squares, sums


def _largest_averages(trial: Trial, steps: int) -> Roots:
    """Chunks of t, √v̂_t and Σ g², with v_t = β2·v_{t−1} + (1 − β2)·g_t² and v̂_t = max(v̂_{t−1}, v_t)."""
    from scipy.signal import lfilter

    beta2 = hyper_of(trial.optimizer).beta2
    kept, largest = np.zeros(1), 0.0
    for t, squares, sums in _squares(trial, steps):
        v, kept = lfilter([1 - beta2], [1, -beta2], squares, zi=kept)
        v_max = np.maximum.accumulate(np.maximum(v, largest))
        largest = float(v_max[-1])
        yield t, np.sqrt(v_max), sums


def _means(trial: Trial, steps: int) -> Roots:
    """Chunks of t, √v_t and Σ g², where v_t is the mean of all g² up to t."""
    for t, _, sums in _squares(trial, steps):
        yield t, np.sqrt(sums / t), sums
