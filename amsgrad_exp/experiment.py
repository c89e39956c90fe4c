"""The driver: advances an engine in chunks, fast-forwards once it repeats itself, and sums up what came out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines.base import Engine
from amsgrad_exp.problems import Problem
from amsgrad_exp.trace import LaneTraces, Trace, logged_steps

if TYPE_CHECKING:
    from amsgrad_exp.engines.compiled import CompiledEngine

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
        reference: the state that the engine's is next compared with, to be handed to `drive` with an engine saved
            after this chunk; None where there is none.
        resumable: whether the engine stands after this chunk, so that it may be saved there.
        halfwidths: of an engine that averages over seeds, `Engine.halfwidths`; else None.
    """

    trace: Trace
    step: int
    x: float
    total_regret: float
    tail_x_sum: float
    steps_simulated: int
    reference: bytes | None
    resumable: bool
    halfwidths: tuple[float, float] | None = None


def tail_start(steps: int) -> int:
    """The first step of the last tenth of a run of ``steps`` steps; the tail has at least one step."""
    return steps - max(1, steps // 10)


def drive(
    engine: Engine, steps: int, log_every: int, *, fast_forward: bool = True, reference: bytes | None = None
) -> Iterator[Chunk]:
    """Advance ``engine`` to ``steps`` steps, yielding chunks with the points where (t + 1) mod log_every = 0.

    Where chunks end, and where states are compared, depends on the engine and the problem alone, so that a run that
    goes on from a saved engine yields what an uninterrupted one does. With a periodic problem and a constant step size
    the states after each cycle, a whole number of periods, are compared once the bias corrections have saturated; once
    two are the same, bit for bit, all that follows repeats, and is derived instead of simulated (docs/method.md).

    Args:
        engine: at its start, or loaded with what was saved after a resumable chunk of a run of the same length.
        steps: T, at least 1.
        log_every: at least 1.
        fast_forward: False simulates every step.
        reference: of the chunk after which the engine was saved.

    Raises:
        RunFailed: the engine could not go on; every point before the failure has been yielded.
    """
    plan = _Plan.of(engine, steps, fast_forward=fast_forward)
    while engine.step < steps:
        start = engine.step
        if plan.compares_at(start) and engine.saturated:
            state = engine.state
            if state == reference:
                yield from _derive(engine, plan, log_every)
                return
            reference = state
        if start == plan.tail:
            engine.reset_x_sum()
        trace = engine.advance(plan.stop_after(start), log_every)
        lost = np.flatnonzero(~np.isfinite(trace.loss + trace.regret))
        yield Chunk(
            trace=trace.rows(slice(int(lost[0]))) if len(lost) else trace,
            step=engine.step,
            x=engine.x,
            total_regret=engine.total_regret,
            tail_x_sum=engine.x_sum if start >= plan.tail else 0.0,
            steps_simulated=engine.step,
            reference=reference,
            resumable=engine.failure is None,
            halfwidths=engine.halfwidths(),
        )
        if engine.failure:
            raise RunFailed(engine.failure)
        if not math.isfinite(engine.total_regret + engine.x_sum):
            raise RunFailed(f"R(T) became {engine.total_regret} by step {engine.step - 1}")


@dataclass(frozen=True)
class _Plan:
    """Where the chunks of a run end, and where its states are compared.

    A cycle is a whole number of periods, one with many divisors, so that what repeats after several of them shows; a
    chunk is a cycle, or a piece of one that is too long to be taken at once.
    """

    steps: int
    tail: int
    chunk: int
    cycle: int
    repeats: bool

    @classmethod
    def of(cls, engine: Engine, steps: int, *, fast_forward: bool) -> _Plan:
        period = engine.problem.steps_per_period
        repeats = fast_forward and engine.schedule.constant and period is not None and period <= LONGEST_PERIOD
        cycle = engine.chunk_steps
        if period is not None and (repeats or period <= engine.chunk_steps):
            periods = max(1, engine.chunk_steps // period)
            divisible = next(number for number in (720, 60, 12, 2, 1) if number <= periods)
            cycle = period * (periods - periods % divisible)
        return cls(steps, tail_start(steps), min(cycle, engine.chunk_steps), cycle, repeats)

    def compares_at(self, step: int) -> bool:
        """Whether the state at this step is worth comparing with the one a cycle earlier."""
        return self.repeats and step % self.cycle == 0 and self.steps - step > self.cycle

    def stop_after(self, start: int) -> int:
        """The end of the chunk that begins at ``start``."""
        ends = [(start // length + 1) * length for length in (self.chunk, self.cycle)]
        return min(*ends, self.steps, self.tail if start < self.tail else self.steps)


def _derive(engine: Engine, plan: _Plan, log_every: int) -> Iterator[Chunk]:
    """The rest of a run whose engine repeats itself every ``plan.cycle`` steps, from one recorded cycle."""
    start, state, x, total_regret = engine.step, engine.state, engine.x, engine.total_regret
    tail = max(start, plan.tail)
    tail_x_sum = engine.x_sum if start > plan.tail else 0.0
    pieces: list[Trace] = []
    period = engine.problem.steps_per_period or plan.cycle
    while engine.step < start + plan.cycle:
        pieces.append(engine.advance(min(engine.step + min(period, plan.chunk), start + plan.cycle), log_every=1))
        if engine.step == start + period and engine.state == state:
            break
        yield Chunk(Trace.empty(), start, x, total_regret, tail_x_sum, start, None, resumable=False)
    cycle = Trace.concatenate(pieces)
    length = len(cycle)
    losses = np.concatenate([[0.0], np.cumsum(cycle.loss)])  # sums over the first 0, 1, …, length steps of a cycle
    xs = np.concatenate([[0.0], np.cumsum(cycle.x)])

    def x_sum_until(step: int) -> float:
        cycles, position = divmod(step - start, length)
        return float(cycles * xs[-1] + xs[position])

    stride = DERIVED_POINTS_PER_CHUNK * log_every
    for begin in range(start, plan.steps, stride):
        stop = min(begin + stride, plan.steps)
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
            reference=None,
            resumable=False,
        )


def drive_lanes(
    engines: Sequence[CompiledEngine], steps: int, log_every: int, *, fast_forward: bool = True
) -> Iterator[tuple[int, Trace, Chunk | RunFailed]]:
    """What `drive` yields for each of many compiled engines, to the same bits, for much less time.

    Args:
        engines: of one rule, form of bias correction, dtype, kind of schedule and period, at step 0.
        steps, log_every, fast_forward: as for `drive`.

    Yields:
        As lanes finish: the index of an engine, all of its logged points, and its last chunk or why it failed.
    """
    from amsgrad_exp.engines.lanes import Lanes

    plan = _Plan.of(engines[0], steps, fast_forward=fast_forward)
    lanes = Lanes(engines)
    numbers = np.arange(len(engines))
    comparable = np.zeros(len(engines), bool)
    reference = lanes.state
    logged: list[tuple[NDArray[np.int64], LaneTraces]] = []
    while len(lanes):
        repeating = np.zeros(len(lanes), bool)
        if plan.compares_at(lanes.step):
            repeating = comparable & lanes.saturated & lanes.same_bits(reference)
            comparable, reference = lanes.saturated, lanes.state
        failed = ~np.isfinite(lanes.xs + lanes.total_regrets)
        leaving = repeating | failed | (lanes.step == steps)
        if leaving.any():
            gone = numbers[leaving]
            history = LaneTraces.concatenate([points.take(np.searchsorted(who, gone)) for who, points in logged])
            for position, lane in enumerate(np.flatnonzero(leaving).tolist()):
                traces = [history.of(position)]
                engine, step = lanes.engine(lane), lanes.step
                last: Chunk | RunFailed
                if failed[lane]:
                    last = RunFailed(f"x became {engine.x}, R(T) {engine.total_regret} by step {step - 1}")
                elif repeating[lane]:
                    derived = list(_derive(engine, plan, log_every))
                    traces += [chunk.trace for chunk in derived]
                    last = derived[-1]
                else:
                    last = Chunk(traces[0], step, engine.x, engine.total_regret, engine.x_sum, step, None, False)
                yield int(numbers[lane]), Trace.concatenate(traces), last
        lanes.keep(~leaving)
        numbers, comparable, reference = numbers[~leaving], comparable[~leaving], reference[:, ~leaving]
        if not len(lanes):
            return
        if lanes.step == plan.tail:
            lanes.reset_x_sum()
        logged.append((numbers, lanes.advance(plan.stop_after(lanes.step), log_every)))


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
        mean_x_halfwidth, regret_halfwidth: where all the above are of means over seeds, half the width of the 95 %
            confidence intervals of mean_x and regret; else None.
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
    mean_x_halfwidth: float | None = None
    regret_halfwidth: float | None = None


def summarize(problem: Problem, trace: Trace, last: Chunk) -> Result:
    """The result of a finished run, from all of its logged points and its last chunk."""
    tail = last.step - tail_start(last.step)
    mean_x = last.tail_x_sum / tail
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


def _settled(problem: Problem, mean_x: float) -> Literal["optimum", "worst", "between"]:
    margin = 0.05 * (problem.high - problem.low)
    if abs(mean_x - problem.optimum) <= margin:
        return "optimum"
    return "worst" if abs(mean_x - problem.worst) <= margin else "between"
