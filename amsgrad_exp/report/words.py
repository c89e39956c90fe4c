"""Writes a run's verdict and its evidence in sentences."""

from __future__ import annotations

from amsgrad_exp.bounds import Bounds
from amsgrad_exp.driver.result import FLAT, Result
from amsgrad_exp.errors import NoSteadyState
from amsgrad_exp.records.run import Run
from amsgrad_exp.report.page import short
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.theory import limit
from amsgrad_exp.verdict import WORDS, Evidence, Trend, Verdict

ENDS = {
    "running": "is still going on",
    "interrupted": "was interrupted",
    "killed": "was killed",
    "failed": "failed",
}


def verdict(run: Run) -> list[str]:
    """Sentences with the result, the evidence for it, and the prediction of theory."""
    result = run.summary.result
    if result is None:
        reason = f": {run.summary.reason}" if run.summary.reason else ""
        rest = f" amsgrad-exp resume {run.run_id} continues it." if run.status() in ("interrupted", "killed") else ""
        return [f"This run {ENDS[run.status()]}{reason}, so nothing is concluded.{rest}"]
    return [_iterate(run, result), _regret(run, result), _evidence(run, result), _theory(run)]


def _iterate(run: Run, result: Result) -> str:
    problem = run.trial.problem
    words = WORDS[result.iterate][0]
    where = {
        Verdict.OPTIMUM: f"at the optimum, x* = {problem.optimum:g}",
        Verdict.WORST: f"at the worst point, the end of the interval opposite x* = {problem.optimum:g}",
        Verdict.BETWEEN: f"between x* = {problem.optimum:g} and the opposite end of the interval",
        Verdict.AWAY: f"moving away, farther from x* = {problem.optimum:g} than at the start",
    }.get(result.iterate, words)
    among = f", the mean over {run.summary.seeds:,} seeds" if run.summary.seeds > 1 else ""
    return f"Over the last tenth of the steps the mean of x is {result.mean_x:+.6g}{among}: {where}."


def _regret(run: Run, result: Result) -> str:
    bounded = " It is not positive: the iterates had no larger total loss than x*." if result.regret <= 0 else ""
    return (
        f"After T = {run.summary.steps:,} steps the average regret R(T)/T is {result.regret:.6g}: "
        f"{WORDS[result.regret_trend][0]}.{bounded}"
    )


def _evidence(run: Run, result: Result) -> str:
    if result.evidence is Evidence.PROOF and result.limit_regret is not None:
        every = "at every step" if result.cycle_steps == 1 else f"every {result.cycle_steps:,} steps"
        ends = "does not vanish" if result.limit_regret > 0 else "vanishes"
        return (
            f"This is a proof: from step {result.cycle_start:,} on, the run repeats itself {every}, bit for bit, so "
            f"R(T)/T tends to the mean loss of one cycle, {result.limit_regret:.6g}, and {ends}."
        )
    if result.regret_trend is Trend.UNDECIDED:
        return f"Nothing is concluded: {result.undecided_because(run.trial.problem, schedule_of(run.trial))}."
    slope = "none" if result.regret_slope is None else f"{result.regret_slope:+.3f}"
    return (
        f"This is evidence, not a proof: over the last decade of T the slope of log R(T)/T against log T is {slope}; "
        f"the average regret counts as vanishing below {FLAT:g}."
    )


def bound(bounds: Bounds | None) -> list[str]:
    """Sentences about the bounds on the regret, if there are any."""
    if bounds is None:
        return []
    known = bounds.trajectory
    powers = {
        name: "not like a power of T" if it is None else f"like T^{it:.2f}" for name, it in known.growth().items()
    }
    said = [
        f"Its trajectory proves R(T) ≤ {known.total[-1]:.6g}. The bound's distance term grows {powers['distance']} and "
        f"its moves term {powers['moves']}; theorems promise T^0.5."
    ]
    if bounds.published:
        said.append(f"The published bound is {bounds.published.total[-1]:.6g} ({bounds.published.source}).")
    return [*said, f"No published bound: {bounds.reason}."] if bounds.reason else said


def _theory(run: Run) -> str:
    try:
        return f"In theory R(T)/T tends to {limit(run.trial):.6g} with α/√t, and with a small constant step size."
    except NoSteadyState as error:
        return f"Theory gives no limit: {short(str(error), 200)}."
