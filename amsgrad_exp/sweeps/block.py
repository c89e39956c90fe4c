"""Computes a block of cells; this is the task of a worker."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError

from amsgrad_exp import engines
from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.driver.drive import drive
from amsgrad_exp.driver.lanes import Finished, advance_lanes
from amsgrad_exp.driver.result import Result, summarize
from amsgrad_exp.engines.compiled import alike
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.spec.cells import Cells
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.sweeps.points import packed
from amsgrad_exp.sweeps.store import Row, results_of
from amsgrad_exp.sweeps.workers import told_to_stop
from amsgrad_exp.trace import Trace

GOLDEN = (5**0.5 - 1) / 2  # of which multiples are spread evenly modulo 1

Advance = Callable[[Sequence[Trial]], Iterator[Finished | None]]


def run_block(sweep: Cells, cells: Sequence[int]) -> list[Row]:
    """Compute the rows of some cells.

    A row has the cell's number, its optimizer, the sweep's columns, `Result`'s fields and why the cell failed, or None.
    If the sweep keeps points, the row of a cell that did not fail also has ``points``.

    Similar cells run as one batch: in one loop of the compiled engine, or as the elements of one parameter of the torch
    engine if the sweep and the optimizer allow it. Batches advance in turns, chunk by chunk, so that all of them share
    the random numbers drawn for a random problem.

    Raises:
        CancelledError: the thread was told to stop.
    """
    names = list(results_of(sweep))
    rows: dict[int, Row] = {}
    trials: dict[int, Trial] = {}
    groups: dict[tuple[Advance, Hashable], list[int]] = {}

    def row(cell: int, result: Result | None, failure: str | None) -> None:
        optimizer, values = sweep.values(cell)
        results = {name: getattr(result, name) if result else None for name in names}
        rows[cell] = {"cell": cell, "optimizer": optimizer, **values, **results, "failure": failure}

    for cell in cells:
        try:
            trials[cell] = trial = sweep.trial(cell)
            groups.setdefault(_loop_of(trial, cell), []).append(cell)
        except ConfigError as error:
            row(cell, None, str(error))

    keys = list(groups)
    first = int(len(keys) * (cells[0] * GOLDEN % 1))  # blocks side by side do not wait for the same loop's compilation
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
                    if sweep.keeps_points:
                        rows[cell]["points"] = packed(trace)
            else:
                del turns[key]
    return list(rows.values())


def _loop_of(trial: Trial, cell: int) -> tuple[Advance, Hashable]:
    """The function that advances a trial, and the key that it shares with the other trials of its batch.

    Raises:
        ConfigError: the optimizer cannot be built.
    """
    key = alike(trial) if trial.seeds == 1 else None
    return (_alone, cell) if key is None else (advance_lanes, key)


def _alone(trials: Sequence[Trial]) -> Iterator[Finished | None]:
    """Like `advance_lanes`, for a single trial on its own engine."""
    (trial,) = trials
    chunks: list[Chunk] = []
    try:
        for chunk in drive(engines.build(trial), trial.steps, trial.log_every, fast_forward=trial.fast_forward):
            chunks.append(chunk)
            yield None
    except (RunFailed, ConfigError) as failure:
        yield 0, Trace.empty(), RunFailed(str(failure))
        return
    yield 0, Trace.concatenate([chunk.trace for chunk in chunks]), chunks[-1]
