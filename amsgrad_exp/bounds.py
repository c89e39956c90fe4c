"""Computes upper bounds on a run's regret: one from its own trajectory, and one published for its optimizer.

The bound from the trajectory: let every update follow a moving average m_t of gradients, x_{t+1} = clamp(x_t −
η_t·m_t), m_t = β1t·m_{t−1} + (1 − β1t)·g_t, any η_t ≥ 0, and β1t that never increases. If the losses are convex, then
with ρ_t = β1t/(1 − β1t), t counted from 1, w_t = 1 + ρ_t − ρ_{t+1} and ρ_{T+1} = ρ_T,

    R(T) ≤ end + distance + moves,
    end      = ρ_T·m_T·(x_T − x*) − ρ_1·m_0·(x_1 − x*),
    distance = Σ_t w_t·[(x_t − x*)² − (x_{t+1} − x*)²]/(2η_t), with the summand w_t·m_t·(x_t − x*) if η_t = 0,
    moves    = Σ_t (w_t/2 + ρ_{t+1})·η_t·m_t².

docs/method.md, *The regret bound*, gives the proof. It splits g_t as Alacaoglu et al. 2020 (arXiv 2003.09729) do for
constant β1. If β1 is constant, then w_t = 1 and the factor of η_t·m_t² is (1 + β1)/(2(1 − β1)).

The published ones, with known misprints corrected, are for one dimension, α_t = α/√t and 0 ≤ β1t ≤ β1 < 1; D is the
width of the interval and ‖g‖ = √(Σ_{t≤T} g_t²). For ε > 0, ψ_t = √v̂_t + ε replaces the √v̂_t of the papers: their
proofs require only that ψ_t is at least √v_t and that ψ_t/α_t does not decrease. docs/method.md derives both bounds
from the trajectory's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from amsgrad_exp.engines.summarize import log_slope
from amsgrad_exp.errors import NoBound, RunFailed
from amsgrad_exp.problems import LinearProblem
from amsgrad_exp.rules import OPTIMIZERS, hyper_of, options_of, rule_of
from amsgrad_exp.schedules import Floats, Integers, Schedule
from amsgrad_exp.spec.experiment import COMPILED_DTYPES, Trial
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.trace import logged_steps
from amsgrad_exp.watch import UNWATCHED, Watch

MOST_STEPS = 10**9
CHUNK = 262_144  # steps per call of the loop


@dataclass(frozen=True, eq=False)
class Bound:
    """The trajectory's bound on R(T), T = t + 1, and its terms, at every logged step t and at the last step."""

    step: Integers
    end: Floats
    distance: Floats
    moves: Floats

    @property
    def total(self) -> Floats:
        """The bound on R(T): the sum of the terms."""
        return self.end + self.distance + self.moves

    @property
    def terms(self) -> dict[str, Floats]:
        """The terms by name."""
        return {name: term for name, term in vars(self).items() if name != "step"}

    def growth(self) -> dict[str, float | None]:
        """The power of T at which distance and moves grow over the last decade of T, if defined; 0.5 means √T.

        ``end`` is left out: it stays bounded if the gradients do.
        """
        reached = self.step + 1
        return {name: log_slope(reached, self.terms[name], int(reached[-1])) for name in ("distance", "moves")}


@dataclass(frozen=True, eq=False)
class Published:
    """The bound on R(T) of a published theorem, at the same steps."""

    source: str
    total: Floats


@dataclass(frozen=True, eq=False)
class Bounds:
    """The upper bounds on the regret of one trial.

    Attributes:
        trajectory: the bound computed from the run's own trajectory.
        published: the bound of the optimizer's theorem; None if it has no theorem or the theorem does not apply.
        reason: why the optimizer's theorem does not apply; None if it applies or does not exist.
    """

    trajectory: Bound
    published: Published | None = None
    reason: str | None = None

    def at(self, steps: Integers) -> Bounds:
        """The bounds at ``steps``, each of which must be one of ``trajectory.step``."""
        rows = np.searchsorted(self.trajectory.step, steps)
        trajectory = Bound(self.trajectory.step[rows], *(term[rows] for term in self.trajectory.terms.values()))
        published = self.published and Published(self.published.source, self.published.total[rows])
        return Bounds(trajectory, published, self.reason)

    def document(self) -> dict[str, Any]:
        """The fields that ``--json`` prints: bounds on R(T), not on R(T)/T."""
        terms = {name: float(term[-1]) for name, term in self.trajectory.terms.items()}
        theorem = self.published and {"source": self.published.source, "total": float(self.published.total[-1])}
        total = float(self.trajectory.total[-1])
        return {"total": total, **terms, "growth": self.trajectory.growth(), "published": theorem}


def bounds_of(trial: Trial, steps: int | None = None, watch: Watch = UNWATCHED) -> Bounds:
    """Both bounds of a trial at every logged step, computed in double precision whatever the trial's dtype.

    The trial need not have been run: its first ``steps``, by default all of them, are simulated, at about 20 ns each.

    Raises:
        NoBound: as in `refuse`.
        RunFailed: the bound is not finite.
    """
    schedule = schedule_of(trial)  # which may depend on the length of the whole run
    trial = trial if steps is None else trial.model_copy(update={"steps": steps})
    refuse(trial)
    trajectory = _trajectory(trial, schedule, watch)
    if trial.optimizer.name not in THEOREMS:
        return Bounds(trajectory)
    try:
        return Bounds(trajectory, published(trial))
    except NoBound as unmet:
        return Bounds(trajectory, reason=str(unmet))


def refuse(trial: Trial) -> None:
    """Reject a trial that has no trajectory bound.

    Raises:
        NoBound: the optimizer's update does not follow a mean of gradients, a loss is not convex, the trial averages
            over seeds, or there are more than 10⁹ steps; the message says which.
    """
    name = trial.optimizer.name
    if name not in OPTIMIZERS:
        raise NoBound(f"no regret bound is known for {name}: it has no update rule in this package")
    mean = rule_of(trial.optimizer).mean
    if mean is None:
        raise NoBound(f"no regret bound is known for {name}: its update does not follow a mean of gradients")
    if mean.only_without and (value := getattr(hyper_of(trial.optimizer), mean.only_without)):
        raise NoBound(f"a regret bound for {name} is known only for {mean.only_without} = 0, not {value:g}")
    if not trial.problem.convex:
        raise NoBound(f"a regret bound requires convex losses, and {trial.problem.name} has losses that are not convex")
    if trial.dtype not in COMPILED_DTYPES:
        raise NoBound(f"a regret bound is computed in double precision, and says nothing of {trial.dtype}")
    if trial.seeds > 1:
        raise NoBound("a regret bound is for one sequence of gradients: use one seed")
    if trial.steps > MOST_STEPS:
        raise NoBound(f"a regret bound simulates every step, at most {MOST_STEPS:,}, not {trial.steps:,}")


def _trajectory(trial: Trial, schedule: Schedule, watch: Watch) -> Bound:
    from amsgrad_exp.engines.loops import make_terms

    rule, problem = rule_of(trial.optimizer), trial.problem
    h, ends, optimum = hyper_of(trial.optimizer), tuple(map(float, problem.interval)), float(problem.optimum)
    loop = make_terms(rule, problem.slope, per_step=len(problem.sequences()))
    standing: Any = (float(problem.start), tuple(map(float, rule.state.values())), rule.carry, (0.0,) * 6)
    logged = []
    for start in range(0, trial.steps, CHUNK):
        stop = min(start + CHUNK, trial.steps)
        logged.append(np.empty((len(_shown_steps(trial, start, stop)), 3)))
        factors = problem.coefficients(start, stop, trial.seed), schedule.scales(start, stop)
        points = -(start + 1) % trial.log_every, trial.log_every, trial.steps - 1 - start
        standing = loop(start, standing, h, ends, optimum, *factors, *points, logged[-1])
        watch.progress(f"bound of {trial.optimizer.label or trial.optimizer.name}", stop, trial.steps, "steps")
    terms = np.concatenate(logged)
    if not np.isfinite(terms).all():
        raise RunFailed(f"the regret bound of {trial.optimizer.name} is not finite: its updates overflow")
    return Bound(_shown_steps(trial, 0, trial.steps), *(terms.T + 0.0))  # no −0


def _shown_steps(trial: Trial, start: int, stop: int) -> Integers:
    """The steps start ≤ t < stop at which a bound is reported: the logged steps, and the last step of the run."""
    logged = logged_steps(start, stop, trial.log_every)
    return np.append(logged, stop - 1) if stop == trial.steps and stop % trial.log_every else logged


def published(trial: Trial) -> Published:
    """The published bound for a trial's optimizer; the trial has a trajectory bound.

    Raises:
        NoBound: no theorem is implemented for the optimizer, or a condition of the theorem does not hold.
    """
    if trial.optimizer.name not in THEOREMS:
        raise NoBound(f"no published regret bound is implemented for {trial.optimizer.name}")
    source, theorem = THEOREMS[trial.optimizer.name]
    low, high = trial.problem.interval
    if trial.schedule != "inv-sqrt":
        raise NoBound(f"{source} requires schedule inv-sqrt, not {trial.schedule}")
    if not (isinstance(trial.problem, LinearProblem) and math.isfinite(high - low)):
        raise NoBound(f"{source} requires a linear loss on a bounded interval: {trial.problem.name} has none")
    return Published(source, theorem(trial, source))


def _amsgrad(trial: Trial, source: str) -> Floats:
    """Theorem 4 of Reddi, Kale and Kumar 2018, as printed in the proceedings; γ = β1/√β2 < 1.

    R(T) ≤ D²·ψ_T/(α_T·(1 − β1)) + D²/(1 − β1)²·Σ_t β1t·ψ_t/α_t + α·√(1 + ln T)/((1 − β1)²(1 − γ)√(1 − β2))·‖g‖.
    """
    from scipy.signal import lfilter

    h, dialect = hyper_of(trial.optimizer), options_of(trial.optimizer).dialect
    if dialect != "paper":
        raise NoBound(f"{source} requires dialect paper, not {dialect}")
    if not h.beta1 < math.sqrt(h.beta2):
        raise NoBound(f"{source} requires β1 < √β2, not β1 = {h.beta1:g} and β2 = {h.beta2:g}")
    kept, largest = np.zeros(1), 0.0

    def root(t: Floats, squares: Floats, sums: Floats) -> Floats:
        """√v̂_t with v_t = β2·v_{t−1} + (1 − β2)·g_t² and v̂_t = max(v̂_{t−1}, v_t)."""
        nonlocal kept, largest
        v, kept = lfilter([1 - h.beta2], [1, -h.beta2], squares, zi=kept)
        v_max = np.maximum.accumulate(np.maximum(v, largest))
        largest = float(v_max[-1])
        return np.sqrt(v_max)

    third = h.lr / ((1 - h.beta1) ** 2 * (1 - h.beta1 / math.sqrt(h.beta2)) * math.sqrt(1 - h.beta2))
    return _total(trial, root, 1.0, lambda t: third * np.sqrt(1 + np.log(t)))


def _adamnc(trial: Trial, source: str) -> Floats:
    """Theorem 5 of Reddi, Kale and Kumar 2018 with β2t = 1 − 1/t, for which its ζ is α.

    R(T) ≤ D²·ψ_T/(2α_T·(1 − β1)) + D²/(1 − β1)²·Σ_t β1t·ψ_t/α_t + 2α/(1 − β1)³·‖g‖.

    For ε = 0, ψ_t/α_t = ‖g_{1:t}‖/α. For β1t = β1·λ^{t−1} the sum is at most β1·G/(α(1 − λ)²), G = max |g_t|. This
    gives Corollary 2, including the factor 1/α that is missing in print.
    """
    third = 2 * trial.optimizer.lr / (1 - hyper_of(trial.optimizer).beta1) ** 3
    return _total(trial, lambda t, squares, sums: np.sqrt(sums / t), 0.5, lambda t: np.full(len(t), third))


THEOREMS: dict[str, tuple[str, Callable[[Trial, str], Floats]]] = {
    "amsgrad": ("Theorem 4 of Reddi, Kale and Kumar 2018", _amsgrad),
    "adamnc": ("Theorem 5 of Reddi, Kale and Kumar 2018", _adamnc),
}


def _total(trial: Trial, root: Callable[..., Floats], first: float, third: Callable[[Floats], Floats]) -> Floats:
    """D²/(1 − β1)·first·ψ_T/α_T + D²/(1 − β1)²·Σ_t β1t·ψ_t/α_t + third(T)·‖g‖ at the shown steps.

    ``root`` returns √v̂ of a chunk of steps from t (counted from 1), g_t² and Σ_{s≤t} g_s².
    """
    low, high = trial.problem.interval
    h, options = hyper_of(trial.optimizer), options_of(trial.optimizer)
    factor = (high - low) ** 2 / (1 - h.beta1)
    so_far, total_of_squares, pieces = 0.0, 0.0, []
    for start in range(0, trial.steps, CHUNK):
        stop = min(start + CHUNK, trial.steps)
        t = np.arange(start + 1.0, stop + 1.0)
        squares = trial.problem.coefficients(start, stop, trial.seed)[0] ** 2
        sums_of_squares = total_of_squares + np.cumsum(squares)
        over = (root(t, squares, sums_of_squares) + h.eps) * np.sqrt(t) / h.lr
        beta1 = {"none": h.beta1, "geometric": h.beta1 * options.lam ** (t - 1), "harmonic": h.beta1 / t}
        sums = so_far + np.cumsum(beta1[options.beta1_decay] * over)
        so_far, total_of_squares = float(sums[-1]), float(sums_of_squares[-1])
        at = _shown_steps(trial, start, stop) - start
        total = first * over + sums / (1 - h.beta1)
        pieces.append(factor * total[at] + third(t[at]) * np.sqrt(sums_of_squares[at]))
    return np.concatenate(pieces)
