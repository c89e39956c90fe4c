"""Advances many engines together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.trace import LaneTraces, Trace

if TYPE_CHECKING:
    from amsgrad_exp.engines.compiled import CompiledEngine
from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.driver.fast_forward import Plan, derive
from amsgrad_exp.errors import RunFailed


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

    plan = Plan.of(engines[0], steps, fast_forward=fast_forward)
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
                    derived = list(derive(engine, plan, log_every))
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
