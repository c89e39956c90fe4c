"""Advances one engine in chunks, and fast-forwards as soon as it repeats itself."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.driver.fast_forward import Plan, derive
from amsgrad_exp.engines.base import Engine
from amsgrad_exp.errors import RunFailed


def drive(
    engine: Engine, steps: int, log_every: int, *, fast_forward: bool = True, reference: bytes | None = None
) -> Iterator[Chunk]:
    """Advance ``engine`` to ``steps`` steps and yield chunks with the points where (t + 1) mod log_every = 0.

    The ends of chunks and the steps at which states are compared depend only on the engine, the problem and the run's
    length, so a resumed run yields what an uninterrupted one does. If the problem is periodic and the step size
    constant, states one cycle (a whole number of periods) apart are compared as soon as the bias corrections have
    saturated. If two are identical bit for bit, the rest repeats, and is derived instead of simulated (docs/method.md).

    Args:
        engine: a new engine, or one loaded from what was saved after a resumable chunk of a run of the same length.
        steps: T, at least 1.
        log_every: at least 1.
        fast_forward: False simulates every step.
        reference: `Chunk.reference` of the chunk after which the engine was saved.

    Raises:
        RunFailed: the engine failed; every point before the failure has been yielded.
    """
    plan = Plan.of(engine, steps, fast_forward=fast_forward)
    while engine.step < steps:
        start = engine.step
        if plan.compares_at(start) and engine.saturated:
            state = engine.state
            if state == reference and engine.repeats(plan.cycle):
                yield from derive(engine, plan, log_every)
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
