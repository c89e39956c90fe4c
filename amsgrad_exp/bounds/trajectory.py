"""Computes an upper bound on a run's regret from its own trajectory.

Let every update follow a moving average of gradients: x_{t+1} = clamp(x_t − η_t·m_t) with
m_t = β1t·m_{t−1} + (1 − β1t)·g_t, any η_t ≥ 0, and β1t that never increases. If the losses are convex, then with
ρ_t = β1t/(1 − β1t), t counted from 1, w_t = 1 + ρ_t − ρ_{t+1} and ρ_{T+1} = ρ_T,

    R(T) ≤ end + distance + moves,
    end      = ρ_T·m_T·(x_T − x*) − ρ_1·m_0·(x_1 − x*),
    distance = Σ_t w_t·[(x_t − x*)² − (x_{t+1} − x*)²]/(2η_t), with the summand w_t·m_t·(x_t − x*) if η_t = 0,
    moves    = Σ_t (w_t/2 + ρ_{t+1})·η_t·m_t².

docs/method.md, *The regret bound*, gives the proof. It splits g_t as Alacaoglu et al. 2020 (arXiv 2003.09729) do for
constant β1. If β1 is constant, then w_t = 1 and the factor of η_t·m_t² is (1 + β1)/(2(1 − β1)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.errors import NoBound, RunFailed
from amsgrad_exp.rules import OPTIMIZERS, hyper_of, rule_of
from amsgrad_exp.spec.experiment import COMPILED_DTYPES, Trial
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.trace import logged_steps
from amsgrad_exp.watch import UNWATCHED, Watch

Floats = NDArray[np.float64]

MOST_STEPS = 10**9
CHUNK = 262_144  # steps per call of the loop
TERMS = ("end", "distance", "moves")


@dataclass(frozen=True, eq=False)
class Bound:
    """A bound on R(T), T = t + 1, at every logged step t and at the last step.

    Attributes:
        step: t, counted from 0; int64 of shape (n,).
        end, distance, moves: the terms of the bound; float64 of shape (n,).
    """

    step: NDArray[np.int64]
    end: Floats
    distance: Floats
    moves: Floats

    @property
    def total(self) -> Floats:
        """The bound on R(T): the sum of the terms; float64 of shape (n,)."""
        return self.end + self.distance + self.moves

    @property
    def terms(self) -> dict[str, Floats]:
        """The terms by name."""
        return {name: getattr(self, name) for name in TERMS}

    def rows(self, rows: NDArray[np.int64]) -> Bound:
        """The bound at the given rows."""
        return Bound(self.step[rows], self.end[rows], self.distance[rows], self.moves[rows])

    def growth(self) -> dict[str, float | None]:
        """The power of T at which distance and moves grow over the last decade of T; 0.5 means √T.

        Each is the least-squares slope of log(term) against log T, or None if the decade has fewer than two points or
        the term is not positive at all of them. ``end`` is left out: it stays bounded if the gradients do.
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
    """Reject a trial that has no trajectory bound after ``steps`` steps (default: all of its steps).

    Raises:
        NoBound: the optimizer's update does not follow a mean of gradients, a loss is not convex, the trial averages
            over seeds, or there are more than 10⁹ steps; the message says which.
    """
    name, steps = trial.optimizer.name, trial.steps if steps is None else steps
    if name not in OPTIMIZERS:
        raise NoBound(f"no regret bound is known for {name}: it has no update rule in this package")
    mean = rule_of(trial.optimizer).mean
    if mean is None:
        raise NoBound(f"no regret bound is known for {name}: its update does not follow a mean of gradients")
    if mean.only_without and getattr(hyper_of(trial.optimizer), mean.only_without):
        value = getattr(hyper_of(trial.optimizer), mean.only_without)
        raise NoBound(f"a regret bound for {name} is known only for {mean.only_without} = 0, not {value:g}")
    if not trial.problem.convex:
        raise NoBound(f"a regret bound requires convex losses, and {trial.problem.name} has losses that are not convex")
    if trial.dtype not in COMPILED_DTYPES:
        raise NoBound(f"a regret bound is computed in double precision, and says nothing of {trial.dtype}")
    if trial.seeds > 1:
        raise NoBound("a regret bound is for one sequence of gradients: use one seed")
    if steps > MOST_STEPS:
        raise NoBound(f"a regret bound simulates every step, at most {MOST_STEPS:,}, not {steps:,}")


def bound(trial: Trial, steps: int | None = None, watch: Watch = UNWATCHED) -> Bound:
    """The bound at every logged step of a trial, computed in double precision whatever the trial's dtype.

    Every step is simulated, at about 20 ns each.

    Args:
        trial: the trial; it need not have been run.
        steps: the number of steps; by default all of the trial's.
        watch: progress callbacks.

    Raises:
        NoBound: as in `refuse`.
        RunFailed: the bound is not finite.
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
        watch.progress(f"bound of {trial.optimizer.label or trial.optimizer.name}", stop, steps, "steps")
    terms = np.concatenate(logged)
    if not np.isfinite(terms).all():
        raise RunFailed(f"the regret bound of {trial.optimizer.name} is not finite: its updates overflow")
    return Bound(shown_steps(0, steps, trial.log_every, steps), *(terms.T + 0.0))  # no −0


def shown_steps(start: int, stop: int, log_every: int, steps: int) -> NDArray[np.int64]:
    """The steps start ≤ t < stop at which a bound is reported: the logged steps, and the last step of the run."""
    logged = logged_steps(start, stop, log_every)
    return np.append(logged, steps - 1) if stop == steps and steps % log_every else logged
