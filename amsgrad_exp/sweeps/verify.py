"""Check the rows of a sweep, and compute some of its cells again."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amsgrad_exp.errors import NotVerified, RunError
from amsgrad_exp.spec.cells import Cells
from amsgrad_exp.sweeps.block import run_block
from amsgrad_exp.sweeps.compute import computed
from amsgrad_exp.sweeps.run import OnCells, read_sweep
from amsgrad_exp.sweeps.store import Results, Row, open_results

SAMPLE = 32  # cells computed again, unless all are
ROWS_SAID = 1000  # how often the progress of checking rows is said
SLOPE_ERROR = 1e-9  # of a fit: its last digits are those of the processor's logarithms and linear algebra


@dataclass(frozen=True)
class Verification:
    """A sweep that was found to hold what its cells come to.

    Attributes:
        cells: how many cells the sweep has.
        rows: how many of them are done, each with a row that was checked.
        recomputed: how many were computed again and had the same bits.
        checksums: whether the rows have any; those of 0.1.0 have none.
    """

    cells: int
    rows: int
    recomputed: int
    checksums: bool


def verify(
    directory: Path, executor: Executor, *, every_cell: bool = False, on_cells: OnCells = lambda done, total: None
) -> Verification:
    """Check the checksums of every row and of its points, compute some cells again and compare.

    Bit for bit, but for `Result.regret_slope`, which is compared to `SLOPE_ERROR`.

    Args:
        directory: of a sweep, complete or as far as it came.
        executor: where cells are computed; `workers` makes one.
        every_cell: compute every cell again that is done, not only `SAMPLE` of them, the same each time; so it is in
            any case where rows have no checksums.
        on_cells: called with how many rows have been checked and cells computed again, of how many.

    Raises:
        NotVerified: a row or its points are not what was written, or not what the cell comes to, or missing; the
            message names cell and column.
        NoSuchRun: the directory is not a sweep.
        Damaged: its files do not belong together.
        RunError: no cell is done, or results.sqlite cannot be read.
    """
    sweep = read_sweep(directory)
    with _results(directory, sweep) as results:
        done = results.done()
        rows = int(done.sum())
        if results.was_complete and not done.all():
            raise NotVerified(f"cell {int(np.argmin(done))} has no row, and had one when the sweep was complete")
        if every_cell or not results.checksums:
            again = done
        else:
            again = np.zeros_like(done)
            again[random.Random(0).sample(np.flatnonzero(done).tolist(), min(SAMPLE, rows))] = True
        total = rows + int(again.sum())
        for number, (row, trusted) in enumerate(results.checked_rows()):
            if not trusted:
                _compare(sweep, row, results.kept(*run_block(sweep, [row["cell"]])))
                raise NotVerified(f"{_named(row, sweep)}: the checksum is not that of the row")
            if not results.right_points(row):
                raise NotVerified(f"{_named(row, sweep)}: the points of its curve are not what was written")
            if number % ROWS_SAID == 0:
                on_cells(number, total)
        finished = rows
        on_cells(finished, total)
        with contextlib.closing(computed(sweep, sweep.blocks(~again), executor)) as blocks:
            for block in blocks:
                for row in block:
                    _compare(sweep, results.row(row["cell"]), results.kept(row))
                    if results.has_points and results.points(row["cell"]) != row.get("points"):
                        raise NotVerified(f"{_named(row, sweep)}: the points of its curve are not what it comes to")
                finished += len(block)
                on_cells(finished, total)
        return Verification(len(sweep), rows, finished - rows, results.checksums)


@contextlib.contextmanager
def _results(directory: Path, sweep: Cells) -> Iterator[Results]:
    """The rows of a sweep that has some."""
    if (directory / "results.sqlite").is_file():
        with open_results(directory, sweep) as results:
            if len(results):
                yield results
                return
    raise RunError(f"{directory} has no results yet: there is nothing to verify")


def _compare(sweep: Cells, kept: Row, again: Row) -> None:
    """Refuse a row that is not what its cell comes to. Why a cell failed may be said in other words."""
    for name, value in again.items():
        if not _same(name, kept[name], value):
            raise NotVerified(f"{_named(again, sweep)}: {name} is {_said(value)}, and {_said(kept[name])} in its row")


def _same(name: str, kept: Any, again: Any) -> bool:
    if name == "failure":
        return (kept is None) == (again is None)
    if name == "regret_slope" and None not in (kept, again):
        return math.isclose(kept, again, rel_tol=0, abs_tol=SLOPE_ERROR)
    return bool(kept == again)


def _named(row: Row, sweep: Cells) -> str:
    values = {name: row[name] for name in sweep.columns}
    at = ", ".join(f"{name} = {value:g}" if isinstance(value, float) else str(value) for name, value in values.items())
    return f"cell {row['cell']} ({row['optimizer']}, {at})"


def _said(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)
