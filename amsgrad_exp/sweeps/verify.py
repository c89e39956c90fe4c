"""Checks the rows of a sweep, and computes some of its cells again."""

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
from amsgrad_exp.sweeps.run import read_sweep, report
from amsgrad_exp.sweeps.store import Results, Row, open_results
from amsgrad_exp.watch import UNWATCHED, Watch

SAMPLE = 32  # cells that are computed again, unless all are
ROWS_SAID = 1000  # rows between two progress reports
SLOPE_ERROR = 1e-9  # the last digits of a fit depend on the processor's logarithms and linear algebra


@dataclass(frozen=True)
class Verification:
    """The outcome of a successful verification.

    Attributes:
        cells: how many cells the sweep has.
        rows: how many of them are done and had their row checked.
        recomputed: how many were computed again, with the same bits.
        checksums: whether the rows have checksums; those of 0.1.0 have none.
    """

    cells: int
    rows: int
    recomputed: int
    checksums: bool


def verify(directory: Path, executor: Executor, watch: Watch = UNWATCHED, *, every_cell: bool = False) -> Verification:
    """Check the checksums of every row and its points, compute some cells again and compare.

    Everything is compared bit for bit, except `Result.regret_slope`, which may differ by `SLOPE_ERROR`.

    Args:
        directory: the directory of a complete or unfinished sweep.
        executor: computes the cells; see `workers`.
        every_cell: compute every finished cell again, not only a fixed sample of `SAMPLE` cells. If the rows have no
            checksums, every cell is computed in any case.
        watch: progress callbacks, called with the rows checked plus the cells computed again, and their total.

    Raises:
        NotVerified: a row or its points are damaged, missing, or differ from the cell's result; the message names the
            cell and the column.
        NoSuchRun: the directory is not a sweep.
        Damaged: its files do not belong together.
        RunError: no cell is done, or results.sqlite cannot be read.
    """
    sweep = read_sweep(directory)
    with _results(directory, sweep) as results:
        done = results.done()
        rows = int(done.sum())
        if results.was_complete and not done.all():
            raise NotVerified(f"cell {int(np.argmin(done))} has no row, but had one when the sweep was complete")
        if every_cell or not results.checksums:
            again = done
        else:
            again = np.zeros_like(done)
            again[random.Random(0).sample(np.flatnonzero(done).tolist(), min(SAMPLE, rows))] = True
        total = rows + int(again.sum())
        for number, (row, trusted) in enumerate(results.checked_rows()):
            if not trusted:
                _compare(sweep, row, results.kept(*run_block(sweep, [row["cell"]])))
                raise NotVerified(f"{_named(row, sweep)}: the checksum of the row is wrong")
            if not results.right_points(row):
                raise NotVerified(f"{_named(row, sweep)}: the checksum of its curve's points is wrong")
            if number % ROWS_SAID == 0:
                report(watch, number, total)
        finished = rows
        report(watch, finished, total)
        with contextlib.closing(computed(sweep, sweep.blocks(~again), executor)) as blocks:
            for block in blocks:
                for row in block:
                    _compare(sweep, results.row(row["cell"]), results.kept(row))
                    if results.has_points and results.points(row["cell"]) != row.get("points"):
                        raise NotVerified(f"{_named(row, sweep)}: computed again, the points of its curve differ")
                finished += len(block)
                report(watch, finished, total)
        return Verification(len(sweep), rows, finished - rows, results.checksums)


@contextlib.contextmanager
def _results(directory: Path, sweep: Cells) -> Iterator[Results]:
    """Open the results of a sweep that has rows."""
    if (directory / "results.sqlite").is_file():
        with open_results(directory, sweep) as results:
            if len(results):
                yield results
                return
    raise RunError(f"{directory} has no results yet: there is nothing to verify")


def _compare(sweep: Cells, kept: Row, again: Row) -> None:
    """Reject a row that differs from its cell computed again; the wording of a failure may differ."""
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
