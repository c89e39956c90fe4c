"""Advances many compiled runs together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.driver.fast_forward import Plan, derive
from amsgrad_exp.errors import RunFailed
from amsgrad_exp.trace import Trace

if TYPE_CHECKING:
    from amsgrad_exp.spec.experiment import Trial


def drive_lanes(trials: Sequence[Trial]) -> Iterator[tuple[int, Trace, Chunk | RunFailed]]:
    """What `drive` yields for each of many trials of the compiled engine, to the same bits, for much less time.

    Args:
        trials: of one seed each, that are `engines.lanes.alike`.

    Yields:
        As lanes finish: the index of a trial, all of its logged points, and its last chunk or why it failed.
    """
    from amsgrad_exp.engines.compiled import CompiledEngine
    from amsgrad_exp.engines.lanes import Lanes

    lead = trials[0]
    plan = Plan.of(CompiledEngine(lead), lead.steps, fast_forward=lead.fast_forward)
    lanes = Lanes(trials)
    numbers = np.arange(len(trials))
    comparable = np.zeros(len(trials), bool)
    reference = lanes.state
    logged: list[tuple[NDArray[np.int64], Trace]] = []
    while True:
        repeating = np.zeros(len(lanes), bool)
        if plan.compares_at(lanes.step):
            repeating = comparable & lanes.saturated & lanes.same_bits(reference)
            comparable, reference = lanes.saturated, lanes.state
        failed = ~np.isfinite(lanes.xs + lanes.totals[0])
        leaving = repeating | failed | (lanes.step == lead.steps)
        if leaving.any():
            gone = numbers[leaving]
            history = Trace.concatenate([points.lanes(np.searchsorted(who, gone)) for who, points in logged])
            for position, lane in enumerate(np.flatnonzero(leaving)):
                number = int(numbers[lane])
                engine = CompiledEngine(trials[number], lanes.keep(np.array([lane])))
                trace = history.lanes(position)
                if failed[lane]:
                    reason = f"x became {engine.x}, R(T) {engine.total_regret} by step {lanes.step - 1}"
                    yield number, trace, RunFailed(reason)
                elif repeating[lane]:
                    derived = list(derive(engine, plan, lead.log_every))
                    yield number, Trace.concatenate([trace, *(chunk.trace for chunk in derived)]), derived[-1]
                else:
                    last = Chunk(trace, lanes.step, engine.x, engine.total_regret, engine.x_sum, lanes.step)
                    yield number, trace, last
        if leaving.all():
            return
        if leaving.any():
            stay = np.flatnonzero(~leaving)
            lanes = lanes.keep(stay)
            numbers, comparable, reference = numbers[stay], comparable[stay], reference[:, stay]
        if lanes.step == plan.tail:
            lanes.reset_x_sum()
        logged.append((numbers, lanes.advance(plan.stop_after(lanes.step), lead.log_every)))
