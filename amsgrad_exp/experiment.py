"""The driver: advances an engine in chunks, fast-forwards once it repeats itself, and sums up what came out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from amsgrad_exp.engines.base import Engine
from amsgrad_exp.problems import Problem
from amsgrad_exp.trace import Trace, logged_steps

DERIVED_POINTS_PER_CHUNK = 65_536
LONGEST_PERIOD = 4_194_304  # of a problem worth fast-forwarding: a cycle is kept in memory, 32 bytes a step


class RunFailed(RuntimeError):
    """The optimizer raised, or the iterate became NaN or infinite; the message names the step."""


@dataclass(frozen=True)
class Chunk:
    """A stretch of a run: its logged points, and where the run stands after it.

    Attributes:
        trace: the points logged in this stretch.
        step: the number of steps done, T.
        x: x_T, the iterate after them.
        total_regret: R(T).
        tail_x_sum: the sum of x_t over the steps done that belong to the last tenth of the run.
        steps_simulated: how many of the T steps an engine took; the others were derived.
        resumable: whether the engine, saved now and driven on, would yield what follows here.
    """

    trace: Trace
    step: int
    x: float
    total_regret: float
    tail_x_sum: float
    steps_simulated: int
    resumable: bool


def tail_start(steps: int) -> int:
    """The first step of the last tenth of a run of ``steps`` steps; the tail has at least one step."""
    return steps - max(1, steps // 10)


def drive(engine: Engine, steps: int, log_every: int, *, fast_forward: bool = True) -> Iterator[Chunk]:
    """Advance ``engine`` to ``steps`` steps, yielding chunks with the points where (t + 1) mod log_every = 0.

    Chunks end at multiples of a length that depends on the engine and the problem alone, so that a run that goes on
    from a saved engine yields what an uninterrupted one does. With a periodic problem and a constant step size a chunk
    is a whole number of periods; once the bias corrections have saturated and a chunk leaves the engine's state as it
    was, bit for bit, all that follows repeats, and is derived instead of simulated (docs/method.md).

    Args:
        engine: at its start, or at any point where a run of the same length was saved between two chunks.
        steps: T, at least 1.
        log_every: at least 1.
        fast_forward: False simulates every step.

    Raises:
        RunFailed: the engine could not go on; every point before the failure has been yielded.
    """
    period = engine.problem.steps_per_period
    if period is not None and period > LONGEST_PERIOD:
        period = None
    length = _chunk_length(engine.chunk_steps, period)
    repeats = fast_forward and engine.schedule.constant and period is not None
    tail = tail_start(steps)
    while engine.step < steps:
        start = engine.step
        if start == tail:
            engine.x_sum = 0.0
        stop = min((start // length + 1) * length, steps, tail if start < tail else steps)
        may_repeat = repeats and stop - start == length and engine.saturated
        state = engine.state if may_repeat else None
        trace = engine.advance(stop, log_every)
        repeating = state == engine.state and steps - stop > length
        yield Chunk(
            trace=trace,
            step=engine.step,
            x=engine.x,
            total_regret=engine.total_regret,
            tail_x_sum=engine.x_sum if start >= tail else 0.0,
            steps_simulated=engine.step,
            resumable=engine.failure is None and not repeating,
        )
        if engine.failure:
            raise RunFailed(engine.failure)
        if not math.isfinite(engine.total_regret):
            raise RunFailed(f"R(T) became {engine.total_regret} by step {engine.step - 1}")
        if repeating:
            yield from _derive(engine, steps, log_every, length)
            return


def _chunk_length(target: int, period: int | None) -> int:
    """About ``target`` steps; a whole number of periods, one with many divisors, so that cycles of several show."""
    if period is None:
        return target
    periods = max(1, target // period)
    divisible = next(number for number in (720, 60, 12, 2, 1) if number <= periods)
    return period * (periods - periods % divisible)


def _derive(engine: Engine, steps: int, log_every: int, length: int) -> Iterator[Chunk]:
    """The rest of a run whose engine repeats itself every ``length`` steps, from one recorded cycle."""
    start, total_regret = engine.step, engine.total_regret
    tail = max(start, tail_start(steps))
    tail_x_sum = engine.x_sum if start > tail_start(steps) else 0.0
    cycle = engine.advance(start + length, log_every=1)
    losses = np.concatenate([[0.0], np.cumsum(cycle.loss)])  # sums over the first 0, 1, …, length steps of a cycle
    xs = np.concatenate([[0.0], np.cumsum(cycle.x)])

    def x_sum_until(step: int) -> float:
        cycles, position = divmod(step - start, length)
        return float(cycles * xs[-1] + xs[position])

    stride = DERIVED_POINTS_PER_CHUNK * log_every
    for begin in range(start, steps, stride):
        stop = min(begin + stride, steps)
        step = logged_steps(begin, stop, log_every)
        cycles, position = np.divmod(step - start, length)
        total_regrets = total_regret + (cycles * losses[-1] + losses[position + 1])
        cycles_done, position_done = divmod(stop - start, length)
        yield Chunk(
            trace=Trace(step, cycle.loss[position], cycle.x[position], total_regrets / (step + 1)),
            step=stop,
            x=float(cycle.x[position_done]),
            total_regret=float(total_regret + (cycles_done * losses[-1] + losses[position_done])),
            tail_x_sum=tail_x_sum + (x_sum_until(stop) - x_sum_until(tail) if stop > tail else 0.0),
            steps_simulated=min(stop, engine.step),
            resumable=False,
        )


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
        iterate: "optimum" or "worst" when mean_x is within 5 % of the interval's width of x* or of the other end,
            else "between".
        regret_trend: "vanishing" when the slope is below −0.25 or R(T)/T ≤ 0, since no positive average regret is left
            then; else "not vanishing".
        steps_simulated, steps_derived: how many steps an engine took, and how many followed from a repeated cycle.
    """

    x: float
    mean_x: float
    total_regret: float
    regret: float
    regret_slope: float | None
    iterate: Literal["optimum", "worst", "between"]
    regret_trend: Literal["vanishing", "not vanishing"]
    steps_simulated: int
    steps_derived: int


def summarize(problem: Problem, trace: Trace, last: Chunk) -> Result:
    """The result of a finished run, from all of its logged points and its last chunk."""
    mean_x = last.tail_x_sum / (last.step - tail_start(last.step))
    regret = last.total_regret / last.step
    slope = regret_slope(trace, last.step)
    return Result(
        x=last.x,
        mean_x=mean_x,
        total_regret=last.total_regret,
        regret=regret,
        regret_slope=slope,
        iterate=_settled(problem, mean_x),
        regret_trend="vanishing" if regret <= 0 or (slope is not None and slope < -0.25) else "not vanishing",
        steps_simulated=last.steps_simulated,
        steps_derived=last.step - last.steps_simulated,
    )


def regret_slope(trace: Trace, steps: int) -> float | None:
    """The log-log slope of R(t)/t over the logged points with T/10 ≤ t ≤ T; None where it is not defined."""
    t = trace.step + 1
    decade = t >= steps / 10
    t, regret = t[decade], trace.regret[decade]
    if len(t) < 2 or np.any(regret <= 0):
        return None
    return float(np.polyfit(np.log(t), np.log(regret), 1)[0])


def _settled(problem: Problem, mean_x: float) -> Literal["optimum", "worst", "between"]:
    margin = 0.05 * (problem.high - problem.low)
    if abs(mean_x - problem.optimum) <= margin:
        return "optimum"
    return "worst" if abs(mean_x - problem.worst) <= margin else "between"
