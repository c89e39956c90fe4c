"""Runs, resumes and verifies sweeps and gauntlets, on one machine or on a cluster.

``<out>/<name>/<id>/`` contains ``sweep.yaml``, from which the sweep can be repeated, ``results.sqlite``, labml's files
and the figure. In ``results.sqlite``, table ``cells`` has a row for each finished cell; for a gauntlet, table
``points`` has the points of each cell's curve. Cells are computed in blocks, and the rows of a block are written in one
transaction, so a sweep that was killed has only complete blocks.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines import build
from amsgrad_exp.errors import ConfigError, Damaged, NoSuchRun, NotVerified, RunError, RunFailed
from amsgrad_exp.process import recording
from amsgrad_exp.records.files import locked, write_atomically
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.gauntlet import read_plan
from amsgrad_exp.spec.sweep import Plan
from amsgrad_exp.sweeps.compute import blocks, computed, run_block
from amsgrad_exp.sweeps.store import Results, Row, open_results
from amsgrad_exp.sweeps.workers import workers
from amsgrad_exp.watch import UNWATCHED, Watch

if TYPE_CHECKING:
    from amsgrad_exp.records.tracking import Tracker

SAMPLE = 32  # how many cells are computed again, unless all are
ROWS_SAID = 1000  # rows between two progress reports
SLOPE_ERROR = 1e-9  # the last digits of a fit depend on the processor's logarithms and linear algebra


@dataclass(frozen=True)
class Swept:
    """A sweep after a run that completed it or was interrupted."""

    directory: Path
    sweep: Plan  # the plan that was run
    complete: bool  # whether all cells are done

    @property
    def axes(self) -> dict[str, NDArray[Any]]:
        """The values of each axis, of shape (values,)."""
        return {name: np.array(values) for name, values in self.sweep.axes.items()}

    def column(self, name: str) -> NDArray[Any]:
        """Return a field of `Result` over the grid, (optimizers, first axis, …); missing values are None or NaN."""
        with self.results() as results:
            return results.column(name)

    def results(self) -> contextlib.AbstractContextManager[Results]:
        """Open the sweep's rows; see `open_results`."""
        return open_results(self.directory, self.sweep)


@recording()
def sweep(plane: Plan, out: Path | str = "sweeps", executor: Executor | None = None, watch: Watch = UNWATCHED) -> Swept:
    """Run an experiment over a grid, or a gauntlet, as ``amsgrad-exp sweep`` and ``amsgrad-exp gauntlet`` do.

    Args:
        plane: what to run, such as ``Sweep.of({"beta2": "0.9:0.999:50"}, optimizers=["adam"])`` or
            ``Gauntlet.of(optimizers=["adam"], steps=1e6)``.
        out: a directory, created if missing.
        executor: computes blocks of cells; `sweeps.workers.workers` makes one from threads or a Dask cluster. The
            default is one thread per core. Only the blocks in flight are held in memory.
        watch: progress callbacks; a request to stop discards the unfinished blocks, and ``resume`` computes the rest.

    Returns:
        The sweep: ``swept.axes`` and ``swept.column("mean_x")`` are arrays.

    Raises:
        ConfigError: an optimizer or labml's configuration is wrong, so that nothing is written.
        RunError, OSError: the sweep could not be stored.
    """
    check_optimizers(plane)
    where = workers() if executor is None else contextlib.nullcontext(executor)
    with where as executor, _tracked(plane, Path(out), plane.name) as tracker:
        write_atomically(tracker.directory / "sweep.yaml", plane.to_yaml().encode())
        with locked(tracker.directory), open_results(tracker.directory, plane) as results:
            return _filled(tracker, results, plane, executor, watch)


@recording()
def resume(directory: Path, executor: Executor, watch: Watch = UNWATCHED) -> Swept:
    """Compute every cell of a sweep that has no row yet."""
    plan = read_sweep(directory)
    with locked(directory), open_results(directory, plan) as results:
        place = directory.resolve().parent
        with _tracked(plan, place.parent, place.name, run_id=directory.name) as tracker:
            return _filled(tracker, results, plan, executor, watch)


def read_sweep(directory: Path) -> Plan:
    """Read and check the sweep.yaml of a directory; raise NoSuchRun or Damaged if it is missing or invalid."""
    path = directory / "sweep.yaml"
    if not path.is_file():
        raise NoSuchRun(f"{directory} is not a sweep: it has no sweep.yaml")
    try:
        plan = read_plan(path).checked()
        check_optimizers(plan)
    except ConfigError as error:
        raise Damaged(f"{path} is damaged: {error}") from error
    return plan


def check_optimizers(plan: Plan) -> None:
    """Check that imported optimizers can be built and, since a sweep runs each cell once, are deterministic."""
    for optimizer in plan.optimizers:
        if plan.entry(optimizer)["name"] in OPTIMIZERS:
            continue
        trial = plan.example_of(optimizer)
        if plan.curves:
            build(trial.model_copy(update={"seeds": 1}))  # not every optimizer supports many seeds
            continue
        from amsgrad_exp.engines.recorded.recorded_run import require_deterministic

        with contextlib.suppress(RunFailed):  # the optimizer's cells will show the failure
            require_deterministic(trial.optimizer)


@contextlib.contextmanager
def _tracked(plan: Plan, out: Path, name: str, run_id: str | None = None) -> Iterator[Tracker]:
    """Track a sweep as a labml experiment, which `_filled` ends."""
    from amsgrad_exp.records.tracking import Tracker

    tracker = Tracker(out, name, ", ".join(plan.optimizers), dict(plan.data), run_id=run_id)
    try:
        yield tracker
    except BaseException as error:
        with contextlib.suppress(OSError):
            tracker.close("failed", str(error))
        raise


def _filled(tracker: Tracker, results: Results, plan: Plan, executor: Executor, watch: Watch) -> Swept:
    """Compute the cells that have no row, record the number of cells with each verdict, and end labml's experiment."""
    done = results.done()
    finished = int(done.sum())
    _report(watch, finished, len(plan))
    with contextlib.closing(computed(plan, blocks(plan, done), executor, watch)) as found:
        for rows in found:
            results.add(rows)
            finished += len(rows)
            _report(watch, finished, len(plan))
    complete = finished == len(plan)
    if complete:
        results.complete()
        counts = results.counts()
        tracker.save_values({f"{name}.{end}": number for name, by in counts.items() for end, number in by.items()})
    if trouble := tracker.close("completed" if complete else "interrupted"):
        watch.note(trouble)
    return Swept(tracker.directory, plan, complete)


def _report(watch: Watch, done: int, total: int) -> None:
    watch.progress(f"{done:,}/{total:,} cells", done, total, "cells")


@dataclass(frozen=True)
class Verification:
    """The outcome of a successful verification."""

    cells: int  # the number of cells of the sweep
    rows: int  # how many cells are done, so that their rows were checked
    recomputed: int  # how many cells were computed again, with the same bits
    checksums: bool  # whether the rows have checksums; those of 0.1.0 have none


def verify(directory: Path, executor: Executor, watch: Watch = UNWATCHED, *, every_cell: bool = False) -> Verification:
    """Check the checksums of every row and its points, compute some cells again and compare.

    Everything is compared bit for bit, except `Result.regret_slope`, which may differ by `SLOPE_ERROR`. The sample is
    fixed; every cell is computed again on request, or if the rows have no checksums. The watch is told how many rows
    were checked plus how many cells were computed again. NotVerified names the cell and the column that is damaged,
    missing or different.
    """
    plan, started = read_sweep(directory), (directory / "results.sqlite").is_file()
    with open_results(directory, plan) if started else contextlib.nullcontext() as results:
        if not results:
            raise RunError(f"{directory} has no results yet: there is nothing to verify")
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
        for number, (row, damaged) in enumerate(results.checked_rows()):
            if damaged == "row":  # first look for the column that is wrong
                _compare(plan, row, results.kept(*run_block(plan, [row["cell"]])))
            if damaged:
                what = "the row" if damaged == "row" else "its curve's points"
                raise NotVerified(f"{_named(row, plan)}: the checksum of {what} is wrong")
            if number % ROWS_SAID == 0:
                _report(watch, number, total)
        finished = rows
        _report(watch, finished, total)
        with contextlib.closing(computed(plan, blocks(plan, ~again), executor)) as found:
            for block in found:
                for row in block:
                    _compare(plan, results.row(row["cell"]), results.kept(row))
                    if results.has_points and results.points(row["cell"]) != row.get("points"):
                        raise NotVerified(f"{_named(row, plan)}: computed again, the points of its curve differ")
                finished += len(block)
                _report(watch, finished, total)
        return Verification(len(plan), rows, finished - rows, results.checksums)


def _compare(plan: Plan, kept: Row, again: Row) -> None:
    """Reject a row that differs from its recomputed cell; the wording of a failure may differ."""
    for name, value in again.items():
        if name == "failure":
            same = (kept[name] is None) == (value is None)
        elif name == "regret_slope" and None not in (kept[name], value):
            same = math.isclose(kept[name], value, rel_tol=0, abs_tol=SLOPE_ERROR)
        else:
            same = kept[name] == value
        if not same:
            said = [repr(each) if isinstance(each, float) else str(each) for each in (value, kept[name])]
            raise NotVerified(f"{_named(again, plan)}: {name} is {said[0]}, and {said[1]} in its row")


def _named(row: Row, plan: Plan) -> str:
    at = ", ".join(
        f"{name} = {row[name]:g}" if isinstance(row[name], float) else str(row[name]) for name in plan.columns
    )
    return f"cell {row['cell']} ({row['optimizer']}, {at})"
