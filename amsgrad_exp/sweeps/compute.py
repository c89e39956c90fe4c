"""Computes blocks of cells on an executor."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait

from amsgrad_exp.spec.cells import Cells
from amsgrad_exp.sweeps.block import run_block
from amsgrad_exp.sweeps.store import Row
from amsgrad_exp.watch import UNWATCHED, Watch

IN_FLIGHT = 512  # blocks of 10 kB: more than a cluster has threads, so that workers that join late find work
STOP_SECONDS = 0.2  # how often the watch is asked whether to stop


def computed(
    sweep: Cells, blocks: Iterator[list[int]], executor: Executor, watch: Watch = UNWATCHED
) -> Generator[list[Row]]:
    """The rows of each block as it is done, in any order, until the watch asks to stop."""
    block = functools.partial(run_block, sweep)
    pending: set[Future[list[Row]]] = set()
    try:
        while True:
            pending |= {executor.submit(block, cells) for cells in itertools.islice(blocks, IN_FLIGHT - len(pending))}
            if not pending or watch.should_stop():
                return
            done, pending = wait(pending, STOP_SECONDS, FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        for future in pending:
            future.cancel()
