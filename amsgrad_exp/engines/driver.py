"""Advances batches of runs in chunks, and derives the rest of a run as soon as the run repeats itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines import batch_of
from amsgrad_exp.engines.batch import Batch
from amsgrad_exp.errors import RunFailed
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.trace import Trace, logged_steps

DERIVED_POINTS_PER_CHUNK = 65_536
LONGEST_PERIOD = 4_194_304  # longest problem period to fast-forward; one cycle is held in memory, 32 bytes a step
MAX_RECORDED = 1_000_000  # most steps of cycles, summed over the runs, to record together; each takes 24 bytes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cycle:
    """The cycle that a run repeats from some step on."""

    start: int
    steps: int  # the length of the cycle
    mean_loss: float  # the mean of f_t(x_t) − f_t(x*) over the cycle, which is the limit of R(T)/T


@dataclass(frozen=True)
class Chunk:
    """Consecutive steps of some runs: their logged points, and their totals after these steps.

    Attributes:
        trace: the logged points, with columns of shape (points, runs); in chunks from `drive`, those of a single run or
            of the mean over seeds.
        step: T, the number of steps done.
        xs: x_T of each run, (runs,).
        totals: R(T), and the sum of x_t over the steps done that belong to the last tenth of the run, (2, runs).
        steps_simulated: how many of the T steps were simulated; the others were derived.
        reference: the earlier state of each run with which its state will be compared next, for `drive` to continue
            with the batch as it is saved after this chunk; None if the batch is not at the end of this chunk.
        cycles: the cycle of each run, if the runs were found to repeat themselves.
        runs: the number of each run in the batch.
    """

    trace: Trace
    step: int
    xs: Floats
    totals: Floats
    steps_simulated: int
    reference: NDArray[np.object_] | None = None
    cycles: Sequence[Cycle] = ()
    runs: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    lost: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1, bool))

    @property
    def x(self) -> float:
        """x_T, or its mean over the runs."""
        return float(np.mean(self.xs))

    @property
    def total_regret(self) -> float:
        """R(T), or its mean over the runs."""
        return float(np.mean(self.totals[0]))

    @property
    def failed(self) -> NDArray[np.bool_]:
        """The runs whose iterate or regret is no longer finite."""
        failed: NDArray[np.bool_] = ~np.isfinite(self.xs + self.totals[0])
        return failed

    def of(self, run: int) -> Chunk:
        """Return the chunk of a single run, without points."""
        xs, totals, cycles = self.xs[[run]], self.totals[:, [run]], self.cycles[run : run + 1]
        return Chunk(Trace.empty(), self.step, xs, totals, self.steps_simulated, None, cycles)


Finished = tuple[int, Trace, Chunk | RunFailed | None]
"""A trial's index, all of its logged points, and its last chunk or failure, or None if it must be run alone."""


def drive(
    batch: Batch, steps: int, log_every: int, *, fast_forward: bool = True, reference: Iterable[bytes | None] = ()
) -> Iterator[Chunk]:
    """Advance a single run, or runs with different seeds, to ``steps`` steps; points are means over seeds.

    A point is logged if (t + 1) mod log_every = 0. The ends of chunks and the steps at which states are compared depend
    only on the kind of batch, the problem and the run's length, so a resumed run yields the same as an uninterrupted
    one. If the problem is periodic and the step size constant, states one cycle (a whole number of periods) apart are
    compared as soon as the bias corrections have saturated. If two states are identical bit for bit, the run repeats
    itself from there on, and the rest is derived instead of simulated (docs/method.md).

    Args:
        batch: a new batch, or one loaded from what was saved after a chunk of a run of the same length.
        steps: T, at least 1.
        log_every: at least 1.
        fast_forward: False simulates every step.
        reference: `Chunk.reference` of the chunk after which the batch was saved.

    Raises:
        RunFailed: the optimizer failed; every point before the failure has been yielded.
    """
    for chunk in _chunks(batch, steps, log_every, fast_forward, reference):
        trace = chunk.trace.runs(0) if len(batch) == 1 else _mean(chunk.trace)
        lost = np.flatnonzero(~np.isfinite(trace.loss + trace.regret))
        if len(lost):
            trace = trace.rows(slice(int(lost[0])))
        yield replace(chunk, trace=trace, reference=None if batch.failure else chunk.reference)
        if batch.failure:
            raise RunFailed(batch.failure)
        if not np.isfinite(chunk.totals).all():
            raise RunFailed(f"R(T) became {chunk.total_regret} by step {chunk.step - 1}")


def drive_batch(trials: Sequence[Trial]) -> Iterator[Finished | None]:
    """Run trials of one seed each with equal `engines.alike` as one batch; each has the same bits as alone.

    Yields each run as it finishes, and None after every chunk, so that the caller can advance other batches in turn.
    """
    lead, logged = trials[0], list[tuple[NDArray[np.int64], Trace]]()
    for chunk in _chunks(batch_of(trials), lead.steps, lead.log_every, lead.fast_forward):
        logged.append((chunk.runs, chunk.trace))
        ending = np.flatnonzero(chunk.lost | chunk.failed | (chunk.step == lead.steps))
        if len(ending):
            gone = chunk.runs[ending]
            own = [points.runs(np.searchsorted(who, gone)) for who, points in logged if gone[0] in who]
            logged = [(who, points) for who, points in logged if not np.array_equal(who, gone)]
            history = Trace.concatenate(own)
            for position, (run, at) in enumerate(zip(gone.tolist(), ending.tolist(), strict=True)):
                last: Chunk | RunFailed | None = chunk.of(at)
                if chunk.lost[at]:
                    last = None
                elif chunk.failed[at]:
                    became = f"x became {chunk.xs[at]}, R(T) {chunk.totals[0, at]}"
                    last = RunFailed(f"{became} by step {chunk.step - 1}")
                yield run, history.runs(position), last
        yield None


class _Plan:
    """The steps at which chunks end and at which states are compared.

    A cycle is a number of periods that has many divisors, so that a run that repeats only after several periods is
    recognized too. A chunk is a cycle, or a part of it if the cycle is too long for one chunk. If the problem has no
    period, ``period`` is the length of the cycle.
    """

    def __init__(self, batch: Batch, steps: int, log_every: int, fast_forward: bool) -> None:
        period, cycle = batch.problem.steps_per_period, batch.chunk_steps
        self.repeats = fast_forward and batch.schedule.constant and period is not None and period <= LONGEST_PERIOD
        if period is not None and (self.repeats or period <= batch.chunk_steps):
            periods = max(1, batch.chunk_steps // period)
            divisible = next(number for number in (720, 60, 12, 2, 1) if number <= periods)
            cycle = period * (periods - periods % divisible)
        self.steps, self.log_every, self.tail = steps, log_every, tail_start(steps)
        self.chunk, self.cycle, self.period = min(cycle, batch.chunk_steps), cycle, period or cycle

    def compares_at(self, step: int) -> bool:
        """Whether to compare the states at this step with those of one cycle before."""
        return self.repeats and step % self.cycle == 0 and self.steps - step > self.cycle

    def stop_after(self, start: int) -> int:
        """Return the end of the chunk that begins at ``start``."""
        ends = [(start // length + 1) * length for length in (self.chunk, self.cycle)]
        return min(*ends, self.steps, self.tail if start < self.tail else self.steps)


def _chunks(
    batch: Batch, steps: int, log_every: int, fast_forward: bool, reference: Iterable[bytes | None] = ()
) -> Iterator[Chunk]:
    """Yield the chunks of all runs; later chunks leave out a run that failed or is lost."""
    plan = _Plan(batch, steps, log_every, fast_forward)
    runs, states = np.arange(len(batch)), np.array(list(reference) or [None] * len(batch), object)
    while batch.step < steps:
        start = batch.step
        if plan.compares_at(start):
            before, states = states, _comparable(batch)
            same = np.array([now is not None and now == then for now, then in zip(states, before, strict=True)])
            if same.any() and (same := same & batch.repeats(plan.cycle)).any():
                gone, stay = np.flatnonzero(same), np.flatnonzero(~same)
                yield from _derive(batch.keep(gone), runs[gone], plan)
                if not len(stay):
                    return
                batch, runs, states = batch.keep(stay), runs[stay], states[stay]
        if start == plan.tail:
            batch.reset_x_sum()
        trace = batch.advance(plan.stop_after(start), log_every)
        xs, totals = _standing(batch, in_tail=start >= plan.tail)
        chunk = Chunk(trace, batch.step, xs, totals, batch.step, states, (), runs, batch.lost.copy())
        yield chunk
        stay = np.flatnonzero(~(chunk.lost | chunk.failed))
        if not len(stay):
            return
        if len(stay) < len(runs):
            batch, runs, states = batch.keep(stay), runs[stay], states[stay]


def _comparable(batch: Batch) -> NDArray[np.object_]:
    """Return the state of each run whose updates no longer depend on t, and None for the other runs."""
    saturated = batch.saturated
    states = batch.states if saturated.any() else [b""] * len(batch)
    return np.array([state if ready else None for state, ready in zip(states, saturated, strict=True)], object)


def _standing(batch: Batch, *, in_tail: bool) -> tuple[Floats, Floats]:
    """Return `Chunk.xs` and `Chunk.totals` of a batch."""
    totals = batch.totals.copy()
    if not in_tail:
        totals[1] = 0
    return batch.xs.astype(np.float64), totals


def _derive(batch: Batch, runs: NDArray[np.int64], plan: _Plan) -> Iterator[Chunk]:
    """Record one cycle of each run that repeats every ``plan.cycle`` steps, and derive the rest of the run from it."""
    number, start, states = len(batch), batch.step, batch.states
    alone = np.arange(number)
    if number == 1 or (plan.period <= plan.chunk and plan.period * number <= MAX_RECORDED):
        recorded, recurs = list[Trace](), np.ones(number, bool)
        xs, totals = _standing(batch, in_tail=start > plan.tail)
        standing = Chunk(Trace.empty((0, number)), start, xs, totals, start, None, (), runs, ~recurs)
        ahead, once = batch.keep(alone), start + plan.period
        while ahead.step < start + plan.cycle:
            end = once if ahead.step < once else start + plan.cycle
            recorded.append(ahead.advance(min(ahead.step + plan.chunk, end), log_every=1))
            if ahead.step == once and (number > 1 or ahead.states == states):
                recurs = np.array([now == then for now, then in zip(ahead.states, states, strict=True)])
                break
            yield standing
        if recurs.any():
            yield from _extrapolate(standing, Trace.concatenate(recorded), np.flatnonzero(recurs), plan, ahead.step)
        alone = np.flatnonzero(~recurs)
    for run in alone.tolist():
        yield from _derive(batch.keep(np.array([run])), runs[[run]], plan)


def _extrapolate(
    standing: Chunk, cycle: Trace, chosen: NDArray[np.int64], plan: _Plan, steps_simulated: int
) -> Iterator[Chunk]:
    """Derive the rest of the chosen runs, which repeat ``cycle``, a trace of every step, from ``standing`` on."""
    start, totals, cycle = standing.step, standing.totals[:, chosen], cycle.runs(chosen)
    tail, length = max(start, plan.tail), len(cycle)
    found = [
        Cycle(start - plan.cycle, _shortest(cycle.runs(run), plan.period), math.fsum(losses) / length)
        for run, losses in enumerate(cycle.loss.T.tolist())
    ]
    before = np.zeros((1, len(chosen)))  # sums over the first 0, 1, …, length steps of a cycle
    losses, xs = (np.concatenate([before, np.cumsum(column, axis=0)]) for column in (cycle.loss, cycle.x))

    def summed(sums: Floats, steps: int) -> Floats:
        cycles, position = divmod(steps, length)
        of_all: Floats = cycles * sums[-1] + sums[position]
        return of_all

    stride = max(1, DERIVED_POINTS_PER_CHUNK // len(chosen)) * plan.log_every
    for begin in range(start, plan.steps, stride):
        stop = min(begin + stride, plan.steps)
        step = logged_steps(begin, stop, plan.log_every)
        cycles, position = np.divmod(step - start, length)
        regrets = totals[0] + (cycles[:, None] * losses[-1] + losses[position + 1])
        more = summed(xs, stop - start) - summed(xs, tail - start) if stop > tail else 0 * totals[1]
        yield Chunk(
            trace=Trace(step, cycle.loss[position], cycle.x[position], regrets / (step + 1)[:, None]),
            step=stop,
            xs=cycle.x[(stop - start) % length],
            totals=totals + np.array([summed(losses, stop - start), more]),
            steps_simulated=min(stop, steps_simulated),
            cycles=found,
            runs=standing.runs[chosen],
            lost=np.zeros(len(chosen), bool),
        )


def _shortest(cycle: Trace, period: int) -> int:
    """Return the shortest whole number of periods, in steps, after which the cycle's iterates and losses repeat."""
    length = len(cycle)
    for steps in range(period, length, period):
        columns = (cycle.x, cycle.loss)
        if length % steps == 0 and all(np.array_equal(column[steps:], column[:-steps]) for column in columns):
            return steps
    return length


def tail_start(steps: int) -> int:
    """Return the first step of the last tenth of a run of ``steps`` steps; that tenth has at least one step."""
    return steps - max(1, steps // 10)


def halfwidth(values: Floats) -> Floats:
    """Return half the width of the 95 % confidence interval of the mean over the last axis, by Student's t."""
    from scipy.special import stdtrit

    number = values.shape[-1]
    width: Floats = values.std(axis=-1, ddof=1) * (stdtrit(number - 1, 0.975) / number**0.5)
    return width


def _mean(points: Trace) -> Trace:
    """Return the mean over seeds of each logged point, with half the width of its confidence interval."""
    loss, x, regret = (column.mean(axis=1) for column in (points.loss, points.x, points.regret))
    return Trace(points.step, loss, x, regret, halfwidth(points.x), halfwidth(points.regret))
