"""A run's verdict, with its evidence, in sentences."""

from __future__ import annotations

from amsgrad_exp.bounds import Bounds
from amsgrad_exp.driver.result import FLAT, Result
from amsgrad_exp.errors import NoSteadyState
from amsgrad_exp.records.run import Run
from amsgrad_exp.report.page import short
from amsgrad_exp.theory import limit
from amsgrad_exp.verdict import WORDS, Evidence, Trend, Verdict

ENDS = {
    "running": "has not come to its end yet",
    "interrupted": "was interrupted",
    "killed": "was killed",
    "failed": "failed",
}


def verdict(run: Run) -> list[str]:
    """What came out, how it is known, and what theory says."""
    result = run.summary.result
    if result is None:
        reason = f": {run.summary.reason}" if run.summary.reason else ""
        rest = f" amsgrad-exp resume {run.run_id} goes on with it." if run.status() in ("interrupted", "killed") else ""
        return [f"This run {ENDS[run.status()]}{reason}, so nothing is concluded.{rest}"]
    return [_iterate(run, result), _regret(run, result), _evidence(run, result), _theory(run)]


def _iterate(run: Run, result: Result) -> str:
    problem = run.trial.problem
    words = WORDS[result.iterate][0]
    where = {
        Verdict.OPTIMUM: f"at the optimum, x* = {problem.optimum:g}",
        Verdict.WORST: f"at the worst point, the other end from x* = {problem.optimum:g}",
        Verdict.BETWEEN: f"neither at x* = {problem.optimum:g} nor at the other end, but between",
        Verdict.AWAY: f"moving away, farther from x* = {problem.optimum:g} than where it began",
    }.get(result.iterate, words)
    among = f", the mean over {run.summary.seeds:,} seeds" if run.summary.seeds > 1 else ""
    return f"Over the last tenth of the steps the mean of x is {result.mean_x:+.6g}{among}: {where}."


def _regret(run: Run, result: Result) -> str:
    bounded = " It is not positive: on this sequence the iterates did no worse than x*." if result.regret <= 0 else ""
    return (
        f"After T = {run.summary.steps:,} steps the average regret R(T)/T is {result.regret:.6g}: "
        f"{WORDS[result.regret_trend][0]}.{bounded}"
    )


def _evidence(run: Run, result: Result) -> str:
    if result.evidence is Evidence.PROOF and result.limit_regret is not None:
        every = "at every step" if result.cycle_steps == 1 else f"every {result.cycle_steps:,} steps"
        ends = "does not vanish" if result.limit_regret > 0 else "vanishes"
        return (
            f"This is a proof. From step {result.cycle_start:,} on the run repeats itself {every}, bit for bit: "
            f"the mean loss of one cycle, {result.limit_regret:.6g}, is the limit of R(T)/T, which {ends}."
        )
    if result.regret_trend is Trend.UNDECIDED:
        return f"Nothing is concluded: {result.undecided_because(run.trial.problem)}."
    slope = "none" if result.regret_slope is None else f"{result.regret_slope:+.3f}"
    return (
        f"This is evidence, not a proof: in the last decade of T the slope of log R(T)/T against log T is {slope}, and "
        f"below {FLAT:g} it is taken to vanish."
    )


def bound(bounds: Bounds | None) -> list[str]:
    """What a bound says of the regret, where there is one."""
    if bounds is None:
        return []
    known = bounds.trajectory
    powers = {
        name: "not like a power of T" if it is None else f"like T^{it:.2f}" for name, it in known.growth().items()
    }
    said = [
        f"Its own trajectory proves R(T) ≤ {known.total[-1]:.6g}, of which the term of distance grows "
        f"{powers['distance']} and that of moves {powers['moves']}; theorems promise T^0.5."
    ]
    if bounds.published:
        said.append(f"The published bound is {bounds.published.total[-1]:.6g} ({bounds.published.source}).")
    return [*said, f"No published bound: {bounds.reason}."] if bounds.reason else said


def _theory(run: Run) -> str:
    try:
        return f"In theory R(T)/T tends to {limit(run.trial):.6g} with α/√t, and with a small constant step size."
    except NoSteadyState as error:
        return f"Theory gives no limit: {short(str(error), 200)}."
