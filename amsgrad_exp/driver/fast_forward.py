"""Plans where a run's states are compared, and derives the rest of a run from one repeated cycle."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from amsgrad_exp.driver.chunk import Chunk, Cycle, tail_start
from amsgrad_exp.engines.base import Engine
from amsgrad_exp.trace import Trace, logged_steps

DERIVED_POINTS_PER_CHUNK = 65_536
LONGEST_PERIOD = 4_194_304  # longest problem period to fast-forward: one cycle is held in memory, 32 bytes a step


@dataclass(frozen=True)
class Plan:
    """Where the chunks of a run end, and where its states are compared.

    A cycle is a whole number of periods with many divisors, so that a run that repeats only after several periods is
    recognized too. A chunk is a cycle, or a part of a cycle that is too long for one chunk. If the problem has no
    period, ``period`` is the length of the cycle.
    """

    steps: int
    tail: int
    chunk: int
    cycle: int
    period: int
    repeats: bool

    @classmethod
    def of(cls, engine: Engine, steps: int, *, fast_forward: bool) -> Plan:
        period = engine.problem.steps_per_period
        repeats = fast_forward and engine.schedule.constant and period is not None and period <= LONGEST_PERIOD
        cycle = engine.chunk_steps
        if period is not None and (repeats or period <= engine.chunk_steps):
            periods = max(1, engine.chunk_steps // period)
            divisible = next(number for number in (720, 60, 12, 2, 1) if number <= periods)
            cycle = period * (periods - periods % divisible)
        return cls(steps, tail_start(steps), min(cycle, engine.chunk_steps), cycle, period or cycle, repeats)

    def compares_at(self, step: int) -> bool:
        """Whether to compare the state at this step with the state one cycle earlier."""
        return self.repeats and step % self.cycle == 0 and self.steps - step > self.cycle

    def stop_after(self, start: int) -> int:
        """The end of the chunk that begins at ``start``."""
        ends = [(start // length + 1) * length for length in (self.chunk, self.cycle)]
        return min(*ends, self.steps, self.tail if start < self.tail else self.steps)


@dataclass(frozen=True)
class Standing:
    """A run's totals at the step at which it is found to repeat itself.

    Attributes:
        step: the number of steps done.
        total_regret: R(step).
        x_sum: the sum of the iterates since the sum was last reset.
    """

    step: int
    total_regret: float
    x_sum: float

    def tail_x_sum(self, plan: Plan) -> float:
        """The sum of x_t over the steps done that belong to the last tenth of the run."""
        return self.x_sum if self.step > plan.tail else 0.0


def derive(engine: Engine, plan: Plan, log_every: int) -> Iterator[Chunk]:
    """The rest of a run whose engine repeats itself every ``plan.cycle`` steps, from one recorded cycle."""
    standing, state, x = Standing(engine.step, engine.total_regret, engine.x_sum), engine.state, engine.x
    start, once = standing.step, standing.step + plan.period
    pieces: list[Trace] = []
    while engine.step < start + plan.cycle:
        end = once if engine.step < once else start + plan.cycle
        pieces.append(engine.advance(min(engine.step + plan.chunk, end), log_every=1))
        if engine.step == once and engine.state == state:
            break
        yield Chunk(Trace.empty(), start, x, standing.total_regret, standing.tail_x_sum(plan), steps_simulated=start)
    yield from extrapolate(standing, Trace.concatenate(pieces), plan, log_every, steps_simulated=engine.step)


def extrapolate(
    standing: Standing, cycle: Trace, plan: Plan, log_every: int, *, steps_simulated: int
) -> Iterator[Chunk]:
    """The rest of a run that repeats ``cycle``, a trace with every step of the cycle, from ``standing`` on."""
    start, total_regret, tail_x_sum = standing.step, standing.total_regret, standing.tail_x_sum(plan)
    tail, length = max(start, plan.tail), len(cycle)
    found = Cycle(start - plan.cycle, _shortest(cycle, plan.period), math.fsum(cycle.loss.tolist()) / length)
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
            steps_simulated=min(stop, steps_simulated),
            cycle=found,
        )


def _shortest(cycle: Trace, period: int) -> int:
    """The shortest whole number of periods, in steps, after which the cycle's iterates and losses repeat."""
    length = len(cycle)
    for steps in range(period, length, period):
        columns = (cycle.x, cycle.loss)
        if length % steps == 0 and all(np.array_equal(column[steps:], column[:-steps]) for column in columns):
            return steps
    return length
