"""Whole planes: an experiment over a grid of settings, a row a cell, on one machine or a cluster.

``<out>/<name>/<id>/`` holds ``sweep.yaml``, which repeats the sweep, ``results.sqlite``, whose table ``cells`` has a
row for each cell that is done, and the picture. Cells are computed in blocks, as lanes of one compiled loop; a block's
rows are written in one transaction, so a sweep that was killed has whole blocks and lacks the others.
"""

from __future__ import annotations

import contextlib
import uuid
import warnings
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import joblib

from amsgrad_exp.driver.lanes import drive_lanes
from amsgrad_exp.driver.result import Result, summarize
from amsgrad_exp.engines.lanes import alike
from amsgrad_exp.errors import ConfigError, Damaged, NoSuchRun, RunFailed
from amsgrad_exp.records.files import locked, write_atomically
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.grid import Sweep, load_sweep
from amsgrad_exp.sweeps.store import RESULTS, Row, open_results


def run_block(sweep: Sweep, cells: Sequence[int]) -> list[Row]:
    """The rows of some cells: cell, optimizer, the axes' values, `Result`'s fields, and why a cell failed or None."""
    rows: dict[int, Row] = {}
    trials: dict[int, Trial] = {}

    def row(cell: int, result: Result | None, failure: str | None) -> None:
        optimizer, values = sweep.values(cell)
        results = [getattr(result, name) if result else None for name in RESULTS]
        rows[cell] = (cell, optimizer, *values.values(), *results, failure)

    for cell in cells:
        try:
            trials[cell] = sweep.trial(cell)
        except ConfigError as error:
            row(cell, None, str(error))

    groups: dict[Hashable, list[int]] = {}
    for cell, trial in trials.items():
        groups.setdefault(alike(trial), []).append(cell)
    for together in groups.values():
        for number, trace, last in drive_lanes([trials[cell] for cell in together]):
            cell = together[number]
            if isinstance(last, RunFailed):
                row(cell, None, str(last))
            else:
                row(cell, summarize(trials[cell].problem, trace, last), None)
    return list(rows.values())


def make_directory(sweep: Sweep, out: Path) -> Path:
    """A new directory for a sweep, with its sweep.yaml."""
    name = sweep.data.get("name", "synthetic")
    directory: Path = out.resolve() / name / uuid.uuid1().hex
    directory.mkdir(parents=True)
    write_atomically(directory / "sweep.yaml", sweep.to_yaml().encode())
    return directory


def run_sweep(
    directory: Path,
    *,
    on_cells: Callable[[int, int], object] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Compute every cell of a sweep that has no row yet, on the `workers` there are; only blocks in flight are kept.

    Args:
        directory: with a sweep.yaml.
        on_cells: called with how many cells are done, of how many.
        should_stop: asked after every block; True leaves the rest, and blocks under way, for another time.

    Returns:
        Whether all cells are done.

    Raises:
        Damaged: the directory's files do not belong together.
        RunError: another process is at it.
    """
    sweep = read_sweep(directory)
    with locked(directory), open_results(directory, sweep) as results:
        done = results.done()
        finished = int(done.sum())
        on_cells(finished, len(sweep))
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1)
        blocks = (joblib.delayed(run_block)(sweep, cells) for cells in sweep.blocks(done))
        with warnings.catch_warnings(action="ignore"), contextlib.closing(parallel(blocks)) as computed:
            for rows in computed:
                results.add(rows)
                finished += len(rows)
                on_cells(finished, len(sweep))
                if should_stop():
                    break
        return finished == len(sweep)


def read_sweep(directory: Path) -> Sweep:
    """The sweep of a directory.

    Raises:
        NoSuchRun: the directory is not a sweep.
        Damaged: its sweep.yaml is not one.
    """
    path = directory / "sweep.yaml"
    if not path.is_file():
        raise NoSuchRun(f"{directory} is not a sweep: it has no sweep.yaml")
    try:
        return load_sweep(path)
    except ConfigError as error:
        raise Damaged(f"{path} is damaged: {error}") from error
