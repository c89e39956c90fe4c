"""Computes the result of a finished run: its final numbers and what they say about convergence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines.driver import Chunk, halfwidth, tail_start
from amsgrad_exp.problems import Problem
from amsgrad_exp.schedules import Schedule
from amsgrad_exp.trace import Trace
from amsgrad_exp.verdict import Evidence, Trend, Verdict

FLAT = -0.25  # an average regret that falls faster than t^−¼ counts as vanishing
# If the first steps add δ·r·T to a constant regret r, the average r + δ·r·T/t falls as fast as t^−¼ between T/10 and T
# if 1 + 10·δ = 10^¼·(1 + δ). In a run this many times as long as the transient, δ is too small for that.
LONG_ENOUGH = (10 - 10**-FLAT) / (10**-FLAT - 1)


@dataclass(frozen=True)
class Result:
    """The result of a finished run.

    Attributes:
        x: x_T, the iterate after the last step.
        mean_x: the mean of x_t over every step of the last tenth of the run.
        total_regret: R(T).
        regret: R(T)/T.
        regret_slope: the least-squares slope of log(R(t)/t) against log t over the points logged in the last decade of
            t; None if there are fewer than two such points or the average regret is not positive at all of them.
        iterate: `Problem.verdict` of mean_x.
        regret_trend: if the run repeats itself, vanishing if the limit is not positive, else not vanishing. Otherwise
            undecided if the schedule depends on T, if the run has fewer than 10.6 times `Problem.transient_steps`, if
            R(T)/T is positive but has no slope, or if the slope is below −0.25 but the iterate is at the worst point,
            where the regret cannot vanish. Otherwise vanishing if the slope is below −0.25 or R(T)/T ≤ 0, else not
            vanishing.
        evidence: proof if regret_trend follows from the limit, else trend; None in records of 0.1.0.
        limit_regret: the limit of R(T)/T if the run repeats itself (the mean loss of one cycle), else None.
        cycle_start, cycle_steps: the step from which on the run repeats itself and the length of its cycle, else None.
        limit_predicted: `theory.limit` of the trial; None if it is unknown.
        steps_simulated, steps_derived: how many steps an engine simulated, and how many were derived from a cycle.
        mean_x_halfwidth, regret_halfwidth: half the width of the 95 % confidence intervals of mean_x and regret, if
            the fields above are means over seeds; else None.
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

    def undecided_because(self, problem: Problem, schedule: Schedule | None = None) -> str:
        """Say why `regret_trend` is undecided for a run on this problem with this schedule."""
        if schedule is not None and schedule.needs_length:
            return "the schedule depends on T, so one run does not show what happens to R(T)/T as T grows"
        long_enough = LONG_ENOUGH * problem.transient_steps
        if self.steps_simulated + self.steps_derived < long_enough:
            return f"on this problem it takes at least {math.ceil(long_enough):,} steps to tell"
        if self.regret_slope is None:
            return "the average regret has no slope over the last decade of steps"
        return "the average regret cannot keep falling with x at the worst point"


def summarize(
    problem: Problem,
    trace: Trace,
    last: Chunk,
    limit_predicted: float | None = None,
    schedule: Schedule | None = None,
) -> Result:
    """Compute the result of a finished run from its logged points, its last chunk and the limit that theory predicts.

    With a schedule that depends on T, the trend is undecided, since a longer run differs from its first step on.
    """
    tail = last.step - tail_start(last.step)
    mean_x, regret = float(np.mean(last.totals[1])) / tail, last.total_regret / last.step
    slope = log_slope(trace.step + 1, trace.regret, last.step)
    iterate, cycle = problem.verdict(mean_x), last.cycles[0] if last.cycles else None
    widths = halfwidth(last.totals).tolist() if len(last.xs) > 1 else None
    if cycle is not None:
        trend = Trend.NOT_VANISHING if cycle.mean_loss > 0 else Trend.VANISHING
    elif (
        (schedule is not None and schedule.needs_length)
        or last.step / problem.transient_steps < LONG_ENOUGH
        or (regret > 0 and (slope is None or (slope < FLAT and iterate == Verdict.WORST)))
    ):
        trend = Trend.UNDECIDED
    else:
        trend = trend_by_slope(regret, slope)
    return Result(
        x=last.x,
        mean_x=mean_x,
        total_regret=last.total_regret,
        regret=regret,
        regret_slope=slope,
        iterate=iterate,
        regret_trend=trend,
        evidence=Evidence.TREND if cycle is None else Evidence.PROOF,
        limit_regret=cycle.mean_loss if cycle else None,
        cycle_start=cycle.start if cycle else None,
        cycle_steps=cycle.steps if cycle else None,
        limit_predicted=limit_predicted,
        steps_simulated=last.steps_simulated,
        steps_derived=last.step - last.steps_simulated,
        mean_x_halfwidth=widths[1] / tail if widths else None,
        regret_halfwidth=widths[0] / last.step if widths else None,
    )


def trend_by_slope(regret: float, slope: float | None) -> Trend:
    """Judge the trend by average regret and slope alone, without regard to the length of the run."""
    falls = regret <= 0 or (slope is not None and slope < FLAT)
    return Trend.VANISHING if falls else Trend.NOT_VANISHING


def log_slope(t: NDArray[np.int64], values: NDArray[np.float64], end: int) -> float | None:
    """Return the slope of log(value) against log t for t ≥ end/10; None if fewer than two or not all are positive."""
    decade = t >= end / 10
    t, values = t[decade], values[decade]
    if len(t) < 2 or np.any(values <= 0):
        return None
    return float(np.polyfit(np.log(t), np.log(values), 1)[0])
