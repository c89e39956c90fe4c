"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amsgrad_exp.driver.chunk import Chunk, tail_start
from amsgrad_exp.problems.base import Problem
from amsgrad_exp.trace import Trace
from amsgrad_exp.verdict import Trend, Verdict


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
        regret_trend: vanishing when the slope is below −0.25 or R(T)/T ≤ 0, since no positive average regret is left
            then.
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


def summarize(problem: Problem, trace: Trace, last: Chunk) -> Result:
    """The result of a finished run, from all of its logged points and its last chunk."""
    tail = last.step - tail_start(last.step)
    mean_x = last.tail_x_sum / tail
    regret = last.total_regret / last.step
    slope = regret_slope(trace, last.step)
    vanishing = regret <= 0 or (slope is not None and slope < -0.25)
    return Result(
        x=last.x,
        mean_x=mean_x,
        total_regret=last.total_regret,
        regret=regret,
        regret_slope=slope,
        iterate=problem.verdict(mean_x),
        regret_trend=Trend.VANISHING if vanishing else Trend.NOT_VANISHING,
        steps_simulated=last.steps_simulated,
        steps_derived=last.step - last.steps_simulated,
        mean_x_halfwidth=last.halfwidths[1] / tail if last.halfwidths else None,
        regret_halfwidth=last.halfwidths[0] / last.step if last.halfwidths else None,
    )


def regret_slope(trace: Trace, steps: int) -> float | None:
    """The log-log slope of R(t)/t over the logged points with T/10 ≤ t ≤ T; None where it is not defined."""
    t = trace.step + 1
    decade = t >= steps / 10
    t, regret = t[decade], trace.regret[decade]
    if len(t) < 2 or np.any(regret <= 0):
        return None
    return float(np.polyfit(np.log(t), np.log(regret), 1)[0])
