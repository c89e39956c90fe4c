"""Runs and resumes sweeps and gauntlets, on one machine or on a cluster.

``<out>/<name>/<id>/`` contains ``sweep.yaml``, with which the sweep can be repeated; ``results.sqlite``, whose table
``cells`` has a row for each finished cell and whose table ``points``, for a gauntlet, has the points of each cell's
curve; labml's files; and the figure. Cells are computed in blocks, and the rows of a block are written in one
transaction, so a sweep that was killed has only complete blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.errors import ConfigError, Damaged, NoSuchRun
from amsgrad_exp.process import recording
from amsgrad_exp.records.files import locked, write_atomically
from amsgrad_exp.spec.cells import Cells
from amsgrad_exp.spec.kinds import load_cells
from amsgrad_exp.sweeps.compute import computed
from amsgrad_exp.sweeps.store import Results, open_results
from amsgrad_exp.watch import UNWATCHED, Watch

if TYPE_CHECKING:
    from amsgrad_exp.records.tracking import Tracker


@dataclass(frozen=True)
class Swept:
    """A sweep after a run that completed it or was interrupted.

    Attributes:
        directory: the sweep's directory.
        sweep: what was run.
        complete: whether all cells are done.
    """

    directory: Path
    sweep: Cells
    complete: bool

    @property
    def axes(self) -> dict[str, NDArray[np.float64]]:
        """The values of each axis of a sweep, float64 of shape (values,)."""
        return {name: np.array(values) for name, values in getattr(self.sweep, "axes", {}).items()}

    def column(self, name: str) -> NDArray[Any]:
        """A field of `Result` over the grid, of shape (optimizers, first axis, …); None or NaN where it is missing.

        Raises:
            RunError: it cannot be read.
        """
        with self.results() as results:
            return results.column(name)

    def results(self) -> contextlib.AbstractContextManager[Results]:
        """Open its rows; see `open_results`."""
        return open_results(self.directory, self.sweep)


@recording()
def sweep(
    loaded: Cells,
    out: Path,
    executor: Executor,
    watch: Watch = UNWATCHED,
) -> Swept:
    """Run a sweep, tracked by labml and stored under ``out``; only the blocks in flight are held in memory.

    Args:
        loaded: what to run.
        out: a directory, created if missing.
        executor: computes the blocks of cells; see `workers`.
        watch: progress callbacks; a request to stop discards the unfinished blocks, and `resume` computes the rest.

    Raises:
        ConfigError: labml's configuration is wrong; nothing was written.
        RunError, OSError: the sweep could not be stored.
    """
    with _tracked(loaded, out, loaded.name) as tracker:
        directory = tracker.directory
        write_atomically(directory / "sweep.yaml", loaded.to_yaml().encode())
        with locked(directory), open_results(directory, loaded) as results:
            complete = _fill(results, loaded, executor, watch)
            _conclude(tracker, results, complete, watch)
    return Swept(directory, loaded, complete)


@recording()
def resume(
    directory: Path,
    executor: Executor,
    watch: Watch = UNWATCHED,
) -> Swept:
    """Compute every cell of a sweep that has no row yet; arguments as in `sweep`.

    Raises:
        ConfigError: labml's configuration is wrong.
        NoSuchRun: the directory is not a sweep.
        Damaged: its files do not belong together.
        RunError: another process is writing to it, or it cannot be written.
    """
    loaded = read_sweep(directory)
    with locked(directory), open_results(directory, loaded) as results:
        place = directory.resolve().parent
        with _tracked(loaded, place.parent, place.name, run_id=directory.name) as tracker:
            complete = _fill(results, loaded, executor, watch)
            _conclude(tracker, results, complete, watch)
    return Swept(directory, loaded, complete)


def read_sweep(directory: Path) -> Cells:
    """Read the sweep.yaml of a directory.

    Raises:
        NoSuchRun: the directory is not a sweep.
        Damaged: its sweep.yaml is invalid.
    """
    path = directory / "sweep.yaml"
    if not path.is_file():
        raise NoSuchRun(f"{directory} is not a sweep: it has no sweep.yaml")
    try:
        return load_cells(path)
    except ConfigError as error:
        raise Damaged(f"{path} is damaged: {error}") from error


@contextlib.contextmanager
def _tracked(sweep: Cells, out: Path, name: str, run_id: str | None = None) -> Iterator[Tracker]:
    """Track a sweep as a labml experiment, which `_conclude` ends."""
    from amsgrad_exp.records.tracking import Tracker

    tracker = Tracker(out, name, ", ".join(sweep.optimizers), dict(sweep.settings), run_id=run_id)
    try:
        yield tracker
    except BaseException as error:
        with contextlib.suppress(OSError):
            tracker.close("failed", str(error))
        raise


def _fill(results: Results, sweep: Cells, executor: Executor, watch: Watch) -> bool:
    """Compute the cells that have no row; return whether all cells are done."""
    done = results.done()
    finished = int(done.sum())
    report(watch, finished, len(sweep))
    with contextlib.closing(computed(sweep, sweep.blocks(done), executor, watch)) as blocks:
        for rows in blocks:
            results.add(rows)
            finished += len(rows)
            report(watch, finished, len(sweep))
    return finished == len(sweep)


def _conclude(tracker: Tracker, results: Results, complete: bool, watch: Watch) -> None:
    """End labml's experiment and record how many cells settle where."""
    if complete:
        results.complete()
        counts = results.counts()
        tracker.save_values({f"{name}.{end}": number for name, by in counts.items() for end, number in by.items()})
    if trouble := tracker.close("completed" if complete else "interrupted"):
        watch.note(trouble)


def report(watch: Watch, done: int, total: int) -> None:
    """Report how many cells are done."""
    watch.progress(f"{done:,}/{total:,} cells", done, total, "cells")
