"""What a run came to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from amsgrad_exp.driver.chunk import Chunk, Cycle, tail_start
from amsgrad_exp.problems.base import Problem
from amsgrad_exp.trace import Trace
from amsgrad_exp.verdict import Evidence, Trend, Verdict

FLAT = -0.25  # a slope: an average regret that falls faster than t^−¼ goes to zero
# A constant regret r, to which the first steps added δ·r·T, has (r + δ·r·T/t) fall as fast as t^−¼ from T/10 to T where
# 1 + 10·δ = 10^¼·(1 + δ). Of a run this many times as long as those first steps count for, that is told apart.
LONG_ENOUGH = (10 - 10**-FLAT) / (10**-FLAT - 1)


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        x: x_T, the iterate after the last step.
        mean_x: the mean of x_t over the last tenth of the steps, every one of them.
        total_regret: R(T).
        regret: R(T)/T.
        regret_slope: the least-squares slope of log R(t)/t against log t over the points logged in the last decade of
            t; None with fewer than two such points, or where the average regret is not positive on all of them.
        iterate: `Problem.verdict` of mean_x.
        regret_trend: of a run that repeats itself, vanishing where the limit is not positive. Else undecided where the
            run has fewer than 10.6 times `Problem.unevenness` steps, or no slope; vanishing where the slope is below
            −0.25 or R(T)/T ≤ 0, since no positive average regret is left then. Undecided, too, where the slope falls
            and the iterate is at the worst end, where no regret goes to 0.
        evidence: proof where regret_trend follows from the limit, else trend; None in records of 0.1.0.
        limit_regret: of a run that repeats itself, the limit of R(T)/T: the mean loss of one cycle; else None.
        cycle_start, cycle_steps: from which step on it repeats itself, and every how many; else None.
        limit_predicted: `theory.limit` of the trial; None where it is not known.
        steps_simulated, steps_derived: how many steps an engine took, and how many followed from a repeated cycle.
        mean_x_halfwidth, regret_halfwidth: where all the above are of means over seeds, half the width of the 95 %
            confidence intervals of mean_x and regret; else None.
    """

    steps_simulated: int
    steps_derived: int
    x: float
    mean_x: float
    total_regret: float
    regret: float
    regret_slope: float | None
    mean_x_halfwidth: float | None
    regret_halfwidth: float | None
    iterate: Verdict
    regret_trend: Trend
    evidence: Evidence | None = None
    limit_regret: float | None = None
    cycle_start: int | None = None
    cycle_steps: int | None = None
    limit_predicted: float | None = None

    def undecided_because(self, problem: Problem) -> str:
        """Why `regret_trend` is undecided, of a run on that problem."""
        long_enough = LONG_ENOUGH * problem.unevenness
        if self.steps_simulated + self.steps_derived < long_enough:
            return f"on this problem a slope says nothing before {math.ceil(long_enough):,} steps"
        if self.regret_slope is None:
            return "it has no slope over the last decade of steps"
        return "it falls, but with x at the worst point it cannot go on falling"


def summarize(problem: Problem, trace: Trace, last: Chunk, limit_predicted: float | None = None) -> Result:
    """The result of a finished run, from all of its logged points, its last chunk and what theory says of it."""
    tail = last.step - tail_start(last.step)
    mean_x = last.tail_x_sum / tail
    regret = last.total_regret / last.step
    slope = regret_slope(trace, last.step)
    cycle = last.cycle
    return Result(
        x=last.x,
        mean_x=mean_x,
        total_regret=last.total_regret,
        regret=regret,
        regret_slope=slope,
        iterate=problem.verdict(mean_x),
        regret_trend=_proved(cycle)
        if cycle
        else _trend(regret, slope, problem.verdict(mean_x), last.step / problem.unevenness),
        evidence=Evidence.TREND if cycle is None else Evidence.PROOF,
        limit_regret=cycle.mean_loss if cycle else None,
        cycle_start=cycle.start if cycle else None,
        cycle_steps=cycle.steps if cycle else None,
        limit_predicted=limit_predicted,
        steps_simulated=last.steps_simulated,
        steps_derived=last.step - last.steps_simulated,
        mean_x_halfwidth=last.halfwidths[1] / tail if last.halfwidths else None,
        regret_halfwidth=last.halfwidths[0] / last.step if last.halfwidths else None,
    )


def _proved(cycle: Cycle) -> Trend:
    return Trend.NOT_VANISHING if cycle.mean_loss > 0 else Trend.VANISHING


def _trend(regret: float, slope: float | None, iterate: Verdict, length: float) -> Trend:
    """What an average regret, and its slope, say of a run that is so many times as long as its problem is uneven."""
    if length < LONG_ENOUGH:
        return Trend.UNDECIDED
    if regret > 0 and (slope is None or (slope < FLAT and iterate == Verdict.WORST)):
        return Trend.UNDECIDED
    return trend_by_slope(regret, slope)


def trend_by_slope(regret: float, slope: float | None) -> Trend:
    """What an average regret and its slope say by themselves, however short the run."""
    falls = regret <= 0 or (slope is not None and slope < FLAT)
    return Trend.VANISHING if falls else Trend.NOT_VANISHING


def regret_slope(trace: Trace, steps: int) -> float | None:
    """The log-log slope of R(t)/t over the logged points with T/10 ≤ t ≤ T; None where it is not defined."""
    t = trace.step + 1
    decade = t >= steps / 10
    t, regret = t[decade], trace.regret[decade]
    if len(t) < 2 or np.any(regret <= 0):
        return None
    return float(np.polyfit(np.log(t), np.log(regret), 1)[0])
