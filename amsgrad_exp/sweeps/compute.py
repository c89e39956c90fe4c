"""Blocks of cells on any executor."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait

from amsgrad_exp.spec.cells import Cells
from amsgrad_exp.sweeps.block import run_block
from amsgrad_exp.sweeps.store import Row

IN_FLIGHT = 512  # blocks, 10 kB each: more than any cluster has threads, so that those that join late have some to do
STOP_SECONDS = 0.2  # how often it is asked whether to stop

ShouldStop = Callable[[], bool]


def computed(
    sweep: Cells, blocks: Iterator[list[int]], executor: Executor, should_stop: ShouldStop = lambda: False
) -> Generator[list[Row]]:
    """The rows of blocks of cells as they are done, in any order, until ``should_stop``."""
    block = functools.partial(run_block, sweep)
    pending: set[Future[list[Row]]] = set()
    try:
        while True:
            pending |= {executor.submit(block, cells) for cells in itertools.islice(blocks, IN_FLIGHT - len(pending))}
            if not pending or should_stop():
                return
            done, pending = wait(pending, STOP_SECONDS, FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        for future in pending:
            future.cancel()
