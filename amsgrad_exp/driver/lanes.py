"""Advances a batch of runs together, one lane per run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.driver.fast_forward import Plan, Standing, derive, extrapolate
from amsgrad_exp.errors import RunFailed
from amsgrad_exp.trace import Trace

if TYPE_CHECKING:
    from amsgrad_exp.engines.lanes import Lanes
    from amsgrad_exp.spec.experiment import Trial

MAX_RECORDED = 1_000_000  # steps, summed over the batch, that are logged one by one at once: 24 bytes each


Finished = tuple[int, Trace, Chunk | RunFailed | None]
"""The index of a trial, all of its logged points, and its last chunk or its failure; None if it must be run alone."""


def drive_lanes(trials: Sequence[Trial]) -> Iterator[Finished]:
    """Run trials of the compiled engine as one batch, with the same bits as `drive` one by one, but much faster.

    Args:
        trials: trials of one seed each that are `engines.compiled.alike`.

    Yields:
        Each run as it finishes.
    """
    return (finished for finished in advance_lanes(trials) if finished)


def advance_lanes(trials: Sequence[Trial]) -> Iterator[Finished | None]:
    """As `drive_lanes`, but yields None after every chunk, so that the caller can advance other batches in turn."""
    from amsgrad_exp.engines.compiled import CompiledEngine, make_lanes

    lead, lanes = trials[0], make_lanes(trials)
    plan = Plan.of(CompiledEngine(lead, lanes), lead.steps, fast_forward=lead.fast_forward)
    numbers = np.arange(len(trials))
    comparable = np.zeros(len(trials), bool)
    reference = lanes.state
    logged: list[tuple[NDArray[np.int64], Trace]] = []
    while True:
        repeating = np.zeros(len(lanes), bool)
        if plan.compares_at(lanes.step):
            saturated = lanes.saturated
            repeating = comparable & saturated & lanes.same_bits(reference)
            comparable, reference = saturated, lanes.state
        failed = ~np.isfinite(lanes.xs + lanes.totals[0])
        leaving = repeating | failed | lanes.lost | (lanes.step == lead.steps)
        if leaving.any():
            gone = numbers[leaving]
            history = Trace.concatenate([points.lanes(np.searchsorted(who, gone)) for who, points in logged])
            cycles = _one_period(lanes, np.flatnonzero(repeating), plan, lead.problem.steps_per_period)
            for position, lane in enumerate(np.flatnonzero(leaving).tolist()):
                number, trace, x = int(numbers[lane]), history.lanes(position), float(lanes.xs[lane])
                total_regret, x_sum = lanes.totals[:, lane].tolist()
                if lanes.lost[lane]:
                    yield number, trace, None
                elif failed[lane]:
                    yield number, trace, _lost(x, total_regret, lanes.step)
                elif repeating[lane]:
                    derived = list(_derived(lanes, lane, cycles.get(lane), trials[number], plan))
                    yield number, Trace.concatenate([trace, *(chunk.trace for chunk in derived)]), derived[-1]
                else:
                    yield number, trace, Chunk(trace, lanes.step, x, total_regret, x_sum, lanes.step)
        if leaving.all():
            return
        if leaving.any():
            stay = np.flatnonzero(~leaving)
            lanes = lanes.keep(stay)
            numbers, comparable, reference = numbers[stay], comparable[stay], reference[:, stay]
        if lanes.step == plan.tail:
            lanes.reset_x_sum()
        logged.append((numbers, lanes.advance(plan.stop_after(lanes.step), lead.log_every)))
        yield None


def _lost(x: float, total_regret: float, step: int) -> RunFailed:
    return RunFailed(f"x became {x}, R(T) {total_regret} by step {step - 1}")


def _one_period(lanes: Lanes, repeating: NDArray[np.int64], plan: Plan, period: int | None) -> dict[int, Trace]:
    """Log every step of one more period of the repeating runs; return the traces of those whose state then recurs."""
    if period is None or period > plan.chunk or not 0 < period * len(repeating) <= MAX_RECORDED:
        return {}
    kept = lanes.keep(repeating)
    state = kept.state
    points = kept.advance(kept.step + period, log_every=1)
    same = np.flatnonzero(kept.same_bits(state))
    return {int(repeating[position]): points.lanes(int(position)) for position in same}


def _derived(lanes: Lanes, lane: int, cycle: Trace | None, trial: Trial, plan: Plan) -> Iterator[Chunk]:
    """The rest of a repeating run, from the given cycle, or from one simulated for this run alone."""
    from amsgrad_exp.engines.compiled import CompiledEngine

    if cycle is None:
        return derive(CompiledEngine(trial, lanes.keep(np.array([lane]))), plan, trial.log_every)
    standing = Standing(lanes.step, *lanes.totals[:, lane].tolist())
    return extrapolate(standing, cycle, plan, trial.log_every, steps_simulated=lanes.step + len(cycle))
