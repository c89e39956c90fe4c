"""The bound on the regret that a run's own trajectory proves.

Let every move be along a mean of gradients: x_{t+1} = clamp(x_t − η_t·m_t) with m_t = β1t·m_{t−1} + (1 − β1t)·g_t,
η_t ≥ 0 whatever it is, and β1t that never grows. Where losses are convex, with ρ_t = β1t/(1 − β1t), t counted from 1,
w_t = 1 + ρ_t − ρ_{t+1} and ρ_{T+1} = ρ_T,

    R(T) ≤ end + distance + moves,
    end      = ρ_T·m_T·(x_T − x*) − ρ_1·m_0·(x_1 − x*),
    distance = Σ_t w_t·[(x_t − x*)² − (x_{t+1} − x*)²]/(2η_t), or w_t·m_t·(x_t − x*) where η_t = 0,
    moves    = Σ_t (w_t/2 + ρ_{t+1})·η_t·m_t².

docs/method.md, *The regret bound*, has the proof, which splits g_t as Alacaoglu et al. 2020 (arXiv 2003.09729) do for
constant β1. Where β1 is constant, w_t = 1 and the last factor is (1 + β1)/(2(1 − β1)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.errors import NoBound, RunFailed
from amsgrad_exp.rules import OPTIMIZERS, hyper_of, rule_of
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.trace import logged_steps

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial

Floats = NDArray[np.float64]

MOST_STEPS = 10**9
CHUNK = 262_144  # steps taken at once
TERMS = ("end", "distance", "moves")


@dataclass(frozen=True, eq=False)
class Bound:
    """A bound on R(T) for T = t + 1 at every logged step t and at the last one.

    Attributes:
        step: t, counted from 0; int64 of shape (n,).
        end, distance, moves: its terms, float64 of shape (n,).
    """

    step: NDArray[np.int64]
    end: Floats
    distance: Floats
    moves: Floats

    @property
    def total(self) -> Floats:
        """The bound on R(T), the sum of its terms; float64 of shape (n,)."""
        return self.end + self.distance + self.moves

    @property
    def terms(self) -> dict[str, Floats]:
        """The terms by name."""
        return {name: getattr(self, name) for name in TERMS}

    def rows(self, rows: NDArray[np.int64]) -> Bound:
        """Some of the points."""
        return Bound(self.step[rows], self.end[rows], self.distance[rows], self.moves[rows])

    def growth(self) -> dict[str, float | None]:
        """The powers of T that distance and moves grow like over the last decade: 0.5 is √T.

        Least squares of a term's logarithm on log T; None where there are fewer than two points, or where the term is
        not positive on all of them. Where slopes are bounded, so is what end can be.
        """
        reached = self.step + 1
        late = reached >= reached[-1] / 10
        return {
            name: float(np.polyfit(np.log(reached[late]), np.log(term[late]), 1)[0])
            if late.sum() > 1 and np.all(term[late] > 0)
            else None
            for name, term in (("distance", self.distance), ("moves", self.moves))
        }


def refuse(trial: Trial, steps: int | None = None) -> None:
    """Refuse a trial, or so many steps of it, of which no bound is known.

    Raises:
        NoBound: its optimizer does not move along a mean of gradients, its losses are not all convex, it is a mean over
            seeds, or it has more than 10⁹ steps; the message says which.
    """
    name, steps = trial.optimizer.name, trial.steps if steps is None else steps
    if name not in OPTIMIZERS:
        raise NoBound(f"no bound on the regret is known for {name}: it has no rule of its own here")
    mean = rule_of(trial.optimizer).mean
    if mean is None:
        raise NoBound(f"no bound on the regret is known for {name}: it does not move along a mean of gradients")
    if mean.only_without and getattr(hyper_of(trial.optimizer), mean.only_without):
        value = getattr(hyper_of(trial.optimizer), mean.only_without)
        raise NoBound(f"a bound on the regret of {name} is known for {mean.only_without} = 0 alone, not {value:g}")
    if not trial.problem.convex:
        raise NoBound(f"bounds on the regret are for convex losses, and some of {trial.problem.name} are not")
    if trial.seeds > 1:
        raise NoBound("a bound is on the regret of one sequence: take one seed")
    if steps > MOST_STEPS:
        raise NoBound(f"a bound takes every step, at most {MOST_STEPS:,} of them, not {steps:,}")


def bound(
    trial: Trial, steps: int | None = None, on_steps: Callable[[int, int], object] = lambda done, total: None
) -> Bound:
    """The bound at every logged step of a trial, worked out in double precision whatever the trial's dtype.

    Every step is simulated: some 20 ns each.

    Args:
        trial: what was, or could be, run.
        steps: how many of its steps; all of them by default.
        on_steps: called as steps are done, with how many are and how many there are.

    Raises:
        NoBound: as `refuse`.
        RunFailed: the bound is no finite number.
    """
    from amsgrad_exp.engines.terms import make_terms

    steps = trial.steps if steps is None else steps
    refuse(trial, steps)
    rule, problem, schedule = rule_of(trial.optimizer), trial.problem, schedule_of(trial)
    low, high = problem.interval
    loop = make_terms(rule, problem.slope, per_step=len(problem.coefficients(0, 1, trial.seed)))
    standing: Any = (float(problem.start), tuple(map(float, rule.state.values())), rule.carry, (0.0,) * 6)
    logged = []
    for start in range(0, steps, CHUNK):
        stop = min(start + CHUNK, steps)
        at = shown_steps(start, stop, trial.log_every, steps)
        logged.append(np.empty((len(at), len(TERMS))))
        standing = loop(
            start,
            standing,
            hyper_of(trial.optimizer),
            (float(low), float(high)),
            float(problem.optimum),
            problem.coefficients(start, stop, trial.seed),
            schedule.scales(start, stop),
            -(start + 1) % trial.log_every,
            trial.log_every,
            steps - 1 - start,
            logged[-1],
        )
        on_steps(stop, steps)
    terms = np.concatenate(logged)
    if not np.isfinite(terms).all():
        raise RunFailed(f"the bound on the regret of {trial.optimizer.name} is no finite number: its moves overflow")
    return Bound(shown_steps(0, steps, trial.log_every, steps), *(terms.T + 0.0))  # no −0


def shown_steps(start: int, stop: int, log_every: int, steps: int) -> NDArray[np.int64]:
    """The steps start ≤ t < stop that a bound is known at: those that are logged, and the last of all."""
    logged = logged_steps(start, stop, log_every)
    return np.append(logged, steps - 1) if stop == steps and steps % log_every else logged
