"""Whole planes: an experiment over a grid of settings, a row a cell, on one machine or a cluster.

``<out>/<name>/<id>/`` holds ``sweep.yaml``, which repeats the sweep, ``results.sqlite``, whose table ``cells`` has a
row for each cell that is done, and of a gauntlet its table ``points`` those of each cell's curve, labml's files, and
the picture. Cells are computed in blocks, as lanes of one compiled loop; a block's rows are written in one
transaction, so a sweep that was killed has whole blocks and lacks the others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.errors import ConfigError, Damaged, NoSuchRun
from amsgrad_exp.records.files import locked, write_atomically
from amsgrad_exp.spec.cells import Cells
from amsgrad_exp.spec.kinds import load_cells
from amsgrad_exp.sweeps.compute import ShouldStop, computed
from amsgrad_exp.sweeps.store import Results, open_results

if TYPE_CHECKING:
    from amsgrad_exp.records.tracking import Tracker

OnCells = Callable[[int, int], object]
OnNote = Callable[[str], object]


@dataclass(frozen=True)
class Swept:
    """A sweep that was run, up to its end or to where it was interrupted.

    Attributes:
        directory: where it is kept.
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
        """One of `Result`'s fields over the grid, of shape (optimizers, first axis, …); None or NaN where none is.

        Raises:
            RunError: it cannot be read.
        """
        with self.results() as results:
            return results.column(name)

    def results(self) -> contextlib.AbstractContextManager[Results]:
        """Its rows; see `open_results`."""
        return open_results(self.directory, self.sweep)


def sweep(
    loaded: Cells,
    out: Path,
    executor: Executor,
    *,
    on_cells: OnCells = lambda done, total: None,
    should_stop: ShouldStop = lambda: False,
    on_note: OnNote = lambda note: None,
) -> Swept:
    """Run a sweep, tracked by labml and kept under ``out``; only blocks in flight are kept in memory.

    Args:
        loaded: what to run.
        out: a directory, made where it is missing.
        executor: where blocks of cells are computed; `workers` makes one.
        on_cells: called with how many cells are done, of how many.
        should_stop: asked several times a second; True leaves the rest, and blocks under way, to `resume`.
        on_note: called with a line on a labml server that did not take everything.

    Raises:
        ConfigError: labml's configuration is wrong; nothing was written.
        RunError, OSError: the sweep could not be kept.
    """
    with _tracked(loaded, out, loaded.name) as tracker:
        directory = tracker.directory
        write_atomically(directory / "sweep.yaml", loaded.to_yaml().encode())
        with locked(directory), open_results(directory, loaded) as results:
            complete = _fill(results, loaded, executor, on_cells, should_stop)
            _conclude(tracker, results, complete, on_note)
    return Swept(directory, loaded, complete)


def resume(
    directory: Path,
    executor: Executor,
    *,
    on_cells: OnCells = lambda done, total: None,
    should_stop: ShouldStop = lambda: False,
    on_note: OnNote = lambda note: None,
) -> Swept:
    """Compute every cell of a sweep that has no row yet; the arguments are `sweep`'s.

    Raises:
        ConfigError: labml's configuration is wrong.
        NoSuchRun: the directory is not a sweep.
        Damaged: its files do not belong together.
        RunError: another process is at it, or it cannot be written.
    """
    loaded = read_sweep(directory)
    with locked(directory), open_results(directory, loaded) as results:
        place = directory.resolve().parent
        with _tracked(loaded, place.parent, place.name, run_id=directory.name) as tracker:
            complete = _fill(results, loaded, executor, on_cells, should_stop)
            _conclude(tracker, results, complete, on_note)
    return Swept(directory, loaded, complete)


def read_sweep(directory: Path) -> Cells:
    """The sweep of a directory.

    Raises:
        NoSuchRun: the directory is not a sweep.
        Damaged: its sweep.yaml is not one.
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
    """A sweep as a labml experiment, whose end is for `_conclude` to say."""
    from amsgrad_exp.records.tracking import Tracker

    tracker = Tracker(out, name, ", ".join(sweep.optimizers), dict(sweep.settings), run_id=run_id)
    try:
        yield tracker
    except BaseException as error:
        with contextlib.suppress(OSError):
            tracker.close("failed", str(error))
        raise


def _fill(results: Results, sweep: Cells, executor: Executor, on_cells: OnCells, should_stop: ShouldStop) -> bool:
    """Compute the cells that have no row; whether all of them were."""
    done = results.done()
    finished = int(done.sum())
    on_cells(finished, len(sweep))
    with contextlib.closing(computed(sweep, sweep.blocks(done), executor, should_stop)) as blocks:
        for rows in blocks:
            results.add(rows)
            finished += len(rows)
            on_cells(finished, len(sweep))
    return finished == len(sweep)


def _conclude(tracker: Tracker, results: Results, complete: bool, on_note: OnNote) -> None:
    """End labml's experiment, with how many cells settle where."""
    if complete:
        results.complete()
        counts = results.counts()
        tracker.save_values({f"{name}.{end}": number for name, by in counts.items() for end, number in by.items()})
    if trouble := tracker.close("completed" if complete else "interrupted"):
        on_note(trouble)
