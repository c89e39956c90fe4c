"""Divides the cells of a plan into blocks, and computes the blocks on an executor."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines import alike, build, compiles
from amsgrad_exp.engines.driver import Chunk, Finished, drive, drive_batch
from amsgrad_exp.engines.summarize import Result, summarize
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.spec.sweep import Plan, Sweep
from amsgrad_exp.sweeps.store import Row, packed, results_of
from amsgrad_exp.sweeps.workers import told_to_stop
from amsgrad_exp.trace import Trace
from amsgrad_exp.watch import UNWATCHED, Watch

AT_ONCE = 256  # most cells of a sweep in a block
ROWS = 15  # optimizers of a gauntlet whose cells on deterministic problems form one block
IN_FLIGHT = 512  # blocks of 10 kB; more than a cluster has threads, so that workers that join late find work
STOP_SECONDS = 0.2  # how often the watch is asked whether to stop
GOLDEN = (5**0.5 - 1) / 2  # its multiples are spread evenly modulo 1

Advance = Callable[[Sequence[Trial]], Iterator[Finished | None]]


def blocks(plan: Plan, done: NDArray[np.bool_]) -> Iterator[list[int]]:
    """Divide the unfinished cells into blocks, one for a worker; the cells of a block take about the same time."""
    cells = np.flatnonzero(~done)
    if isinstance(plan, Gauntlet):
        return _blocks_of_a_gauntlet(plan, cells)
    assert isinstance(plan, Sweep)
    return _blocks_of_a_sweep(plan, cells)


def _blocks_of_a_sweep(sweep: Sweep, cells: NDArray[np.int64]) -> Iterator[list[int]]:
    """Yield blocks of cells that run as one batch; each cell of an optimizer that is not compiled is a block."""
    compiled = np.array([compiles(trial) for trial in sweep.example.trials()])
    optimizer, *positions = np.unravel_index(cells, sweep.shape)
    together = compiled[optimizer]
    at = {name: position[together] for name, position in zip(sweep.axes, positions, strict=True)}
    slowest = np.zeros(together.sum())  # with a larger decay rate, the state repeats later
    for name in {"beta1", "beta2"} & set(at):
        slowest = np.maximum(slowest, np.array(sweep.axes[name])[at[name]])
    parting = sweep.parting_axes if together.any() else []
    ordered = cells[together][np.lexsort((slowest, *(at[name] for name in parting), optimizer[together]))]
    for begin in range(0, len(ordered), AT_ONCE):
        yield ordered[begin : begin + AT_ONCE].tolist()
    yield from ([cell] for cell in cells[~together].tolist())


def _blocks_of_a_gauntlet(gauntlet: Gauntlet, cells: NDArray[np.int64]) -> Iterator[list[int]]:
    """Yield blocks of cells that share random numbers or compiled code.

    Cells on the same random problem form a block, because they share its random numbers. The cells of several
    optimizers on all other problems form further blocks. Imported optimizers are slow: of each one, the cells with one
    seed that compile form a block, and each other cell is a block.
    """
    optimizer, problem, *_ = np.unravel_index(cells, gauntlet.shape)
    foreign = np.array([entry["name"] not in OPTIMIZERS for entry in gauntlet.data["optimizers"]])[optimizer]
    drawn = np.array([not problem.deterministic for problem in gauntlet.by_name.values()])[problem]
    own = np.where(drawn, problem, len(gauntlet.problems) + optimizer // ROWS)
    for part in np.unique(own[~foreign]):
        yield cells[~foreign & (own == part)].tolist()
    together: dict[Hashable, list[int]] = {}
    for cell in cells[foreign].tolist():
        with contextlib.suppress(ConfigError):
            trial = gauntlet.trial(cell)
            if trial.seeds == 1 and compiles(trial):
                together.setdefault(trial.optimizer.name, []).append(cell)
                continue
        together[cell] = [cell]
    yield from together.values()


def computed(
    plan: Plan, blocks: Iterator[list[int]], executor: Executor, watch: Watch = UNWATCHED
) -> Generator[list[Row]]:
    """Yield the rows of each finished block, in any order, until the watch asks to stop."""
    block = functools.partial(run_block, plan)
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


def run_block(plan: Plan, cells: Sequence[int]) -> list[Row]:
    """Compute the rows of some cells; this is the task of a worker.

    A row has the cell's number, its optimizer, the plan's columns, `Result`'s fields, and why the cell failed or None.
    If the plan keeps curves, the row of a cell that did not fail also has ``points``.

    Similar cells run as one batch: in one loop of the compiled engine, or as the elements of one parameter of the torch
    engine if the plan and the optimizer allow it. Batches advance in turns, chunk by chunk, so that all of them share
    the random numbers drawn for a random problem.
    """
    names = list(results_of(plan))
    rows: dict[int, Row] = {}
    trials: dict[int, Trial] = {}
    groups: dict[tuple[Advance, Hashable], list[int]] = {}

    def row(cell: int, result: Result | None, failure: str | None) -> None:
        optimizer, values = plan.values(cell)
        results = {name: getattr(result, name) if result else None for name in names}
        rows[cell] = {"cell": cell, "optimizer": optimizer, **values, **results, "failure": failure}

    for cell in cells:
        try:
            trials[cell] = trial = plan.trial(cell)
            key = alike(trial) if trial.seeds == 1 else None
            groups.setdefault((_alone, cell) if key is None else (drive_batch, key), []).append(cell)
        except ConfigError as error:
            row(cell, None, str(error))

    keys = list(groups)
    first = int(len(keys) * (cells[0] * GOLDEN % 1))  # so concurrent blocks do not wait for the same compilation
    turns = {key: key[0]([trials[cell] for cell in groups[key]]) for key in keys[first:] + keys[:first]}
    while turns:
        for key, runs in list(turns.items()):
            if told_to_stop():
                raise CancelledError
            for finished in runs:
                if finished is None:
                    break
                number, trace, last = finished
                cell = groups[key][number]
                if last is None:
                    groups[_alone, cell] = [cell]
                    turns[_alone, cell] = _alone([trials[cell]])
                elif isinstance(last, RunFailed):
                    row(cell, None, str(last))
                else:
                    result = summarize(trials[cell].problem, trace, last, schedule=schedule_of(trials[cell]))
                    row(cell, result, None)
                    if plan.curves:
                        rows[cell]["points"] = packed(trace)
            else:
                del turns[key]
    return list(rows.values())


def _alone(trials: Sequence[Trial]) -> Iterator[Finished | None]:
    """Like `drive_batch`, for a single trial on its own engine."""
    (trial,) = trials
    chunks: list[Chunk] = []
    try:
        for chunk in drive(build(trial), trial.steps, trial.log_every, fast_forward=trial.fast_forward):
            chunks.append(chunk)
            yield None
    except (RunFailed, ConfigError) as failure:
        yield 0, Trace.empty(), RunFailed(str(failure))
        return
    yield 0, Trace.concatenate([chunk.trace for chunk in chunks]), chunks[-1]
