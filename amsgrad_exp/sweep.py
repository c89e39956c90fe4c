"""Whole planes: an experiment over a grid of settings, a row a cell, on one machine or a cluster.

``<out>/<name>/<id>/`` holds ``sweep.yaml``, which repeats the sweep, ``results.sqlite``, whose table ``cells`` has a
row for each cell that is done, and the picture. Cells are computed in blocks, as lanes of one compiled loop; a block's
rows are written in one transaction, so a sweep that was killed has whole blocks and lacks the others.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import math
import sqlite3
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.config import ConfigError, Experiment, nearest, read_experiment, resolve, to_yaml
from amsgrad_exp.engines.compiled import CompiledEngine
from amsgrad_exp.engines.rules import RULES
from amsgrad_exp.experiment import Result, RunFailed, drive_lanes, summarize
from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.runs import Damaged, NoSuchRun, RunError, locked, write_atomically
from amsgrad_exp.theory import NoSteadyState, drift

LANES = 256
POINTS = 1000  # logged in a cell, unless the experiment says otherwise
MAX_POINTS = 100_000  # logged in a cell: those of all lanes are kept in memory, 24 bytes each
MAX_CELLS = 10_000_000
SETTINGS = ("lr", "beta1", "beta2", "eps")
RESULTS = tuple(field.name for field in fields(Result) if not field.name.endswith("_halfwidth"))


@dataclass(frozen=True)
class Sweep:
    """An experiment over a grid.

    Attributes:
        data: the experiment, as it is written in YAML.
        grid: for each axis, a setting of the optimizers or a constant of the problem, its values:
            ``start:stop:count``, ``log:start:stop:count`` (evenly spaced in the logarithm), ``log1m:start:stop:count``
            (in the logarithm of one minus the value, for β near 1), or a list.
    """

    data: Mapping[str, Any]
    grid: Mapping[str, Any]

    @cached_property
    def axes(self) -> dict[str, tuple[float, ...]]:
        """The values of each axis, ascending, each once."""
        return {name: _axis(name, values) for name, values in self.grid.items()}

    @cached_property
    def optimizers(self) -> tuple[str, ...]:
        """The names of the optimizers, slowest to vary in the order of cells."""
        return tuple(entry["name"] for entry in self.data["optimizers"])

    def __len__(self) -> int:
        return len(self.optimizers) * math.prod(len(values) for values in self.axes.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """Optimizers, then the axes in order; cells are numbered in C order."""
        return len(self.optimizers), *(len(values) for values in self.axes.values())

    def values(self, cell: int) -> tuple[str, dict[str, float]]:
        """The optimizer of a cell, and its value on each axis."""
        optimizer, *positions = (int(index) for index in np.unravel_index(cell, self.shape))
        values = {name: axis[at] for (name, axis), at in zip(self.axes.items(), positions, strict=True)}
        return self.optimizers[optimizer], values

    def experiment(self, cell: int) -> Experiment:
        """The experiment of one cell, complete.

        Raises:
            ConfigError: there can be no such experiment.
        """
        optimizer, values = self.values(cell)
        return self.at(optimizer, values)

    def at(self, optimizer: str, values: Mapping[str, float]) -> Experiment:
        """The experiment of one optimizer with these values on the axes.

        Raises:
            ConfigError: there can be no such experiment.
        """
        settings = {name: value for name, value in values.items() if name in SETTINGS}
        constants = {name: value for name, value in values.items() if name not in SETTINGS}
        (entry,) = (entry for entry in self.data["optimizers"] if entry["name"] == optimizer)
        changed = {"problem": {**self.data["problem"], **constants}, "optimizers": [{**entry, **settings}]}
        return resolve({**self.data, **changed})

    def __reduce__(self) -> tuple[Any, ...]:
        return Sweep, (self.data, self.grid)

    def _try(self, optimizer: str, choices: Sequence[Mapping[str, float]]) -> None:
        """Raise why the first choice cannot be, unless another one can."""
        errors = []
        for values in choices:
            try:
                self.at(optimizer, values)
            except ConfigError as error:
                errors.append(error)
            else:
                return
        raise errors[0]

    def check(self) -> None:
        """Try every optimizer, and every value of every axis with the others at either of their ends.

        Raises:
            ConfigError: a value or a name is impossible.
        """
        kind = PROBLEMS.get(self.data["problem"]["name"])
        known = [*SETTINGS, *(name for name in (kind.model_fields if kind else ()) if name != "name")]
        for name in self.axes:
            if name not in known:
                raise ConfigError(f"grid: unknown setting {name!r}, {nearest(name, known)}")
        if not self.axes:
            raise ConfigError("grid: at least one axis is needed, such as --grid beta2=0.9:0.999:50")
        if len(self) > MAX_CELLS:
            raise ConfigError(f"grid: {len(self):,} cells are more than a sweep takes, {MAX_CELLS:,}")
        corners = [{name: values[at] for name, values in self.axes.items()} for at in (0, -1)]
        experiment = resolve(self.data)
        if experiment.engine == "torch":
            raise ConfigError("engine: a sweep needs the compiled engine, not 'torch'")
        if experiment.seeds > 1:
            raise ConfigError("seeds: a sweep takes one seed a cell")
        if experiment.steps // experiment.log_every > MAX_POINTS:
            raise ConfigError(
                f"log_every {experiment.log_every} is too small for a sweep: take at least "
                f"{-(-experiment.steps // MAX_POINTS)}"
            )
        for optimizer in self.optimizers:
            if optimizer not in RULES:
                raise ConfigError(f"optimizer {optimizer} has no rule, and a sweep needs the compiled engine")
            for name, values in self.axes.items():
                for value in values:
                    self._try(optimizer, [{**corner, name: value} for corner in corners])

    def blocks(self, done: NDArray[np.bool_]) -> Iterator[list[int]]:
        """The cells still to do, in blocks of lanes that can be advanced together and take about as long."""
        keys = []
        cells = np.flatnonzero(~done)
        indices = np.unravel_index(cells, self.shape)
        betas = np.zeros((2, len(cells)))
        for position, (name, values) in enumerate(self.axes.items(), start=1):
            if name in ("beta1", "beta2"):
                betas[("beta1", "beta2").index(name)] = np.array(values)[indices[position]]
            elif name == "period":
                keys.append(indices[position])
        order = np.lexsort((betas.max(axis=0), *keys, indices[0]))
        for begin in range(0, len(order), LANES):
            yield cells[order[begin : begin + LANES]].tolist()

    def to_yaml(self) -> str:
        """The sweep as YAML that `load_sweep` reads back."""
        return to_yaml({**self.data, "grid": dict(self.grid)})


def load_sweep(path: Path | None = None, *, grid: Sequence[str] = (), **given: Any) -> Sweep:
    """Read a sweep: an experiment with a ``grid``; an axis given here replaces the file's.

    Args:
        path: a YAML file, or None for the reference experiment.
        grid: axes as ``NAME=VALUES``.
        given: as for `read_experiment`.

    Raises:
        ConfigError: there can be no such sweep.
    """
    data = read_experiment(path, **given)
    axes = data.pop("grid", None) or {}
    if not isinstance(axes, dict):
        raise ConfigError(f"grid: a mapping of settings to their values is needed, not {axes!r}")
    given_axes: dict[str, str] = {}
    for assignment in grid:
        name, equals, values = assignment.partition("=")
        if not (name and equals):
            raise ConfigError(f"--grid takes NAME=VALUES, not {assignment!r}")
        if name in given_axes:
            raise ConfigError(f"--grid {name} is given twice")
        given_axes[name] = values
    if not isinstance(data.get("optimizers", []), list):
        raise ConfigError(f"optimizers must be a list, not {data['optimizers']!r}")
    steps = resolve(data).steps
    data.setdefault("log_every", max(1, steps // POINTS))
    sweep = Sweep(data, axes | given_axes)
    sweep.check()
    return sweep


def _axis(name: str, values: Any) -> tuple[float, ...]:
    try:
        if isinstance(values, str) and ":" in values:
            *kind, start, stop, count = values.split(":")
            first, last, number = float(start), float(stop), int(count)
            if number < 1 or kind not in ([], ["log"], ["log1m"]):
                raise ValueError
            if number > MAX_CELLS:
                raise ConfigError(f"grid: {name} takes at most {MAX_CELLS:,} values, not {number:,}")
            with np.errstate(all="ignore"):
                if kind == ["log"]:
                    numbers = np.geomspace(first, last, number)
                elif kind == ["log1m"]:
                    numbers = 1 - np.geomspace(1 - first, 1 - last, number)
                else:
                    numbers = np.linspace(first, last, number)
        else:
            numbers = np.array([float(value) for value in (values.split(",") if isinstance(values, str) else values)])
        if not np.all(np.isfinite(numbers)):
            raise ValueError
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"grid: {name} takes start:stop:count, log:start:stop:count, log1m:start:stop:count or a list, "
            f"not {values!r}{'' if isinstance(values, str | list) else ' (in YAML, write it in quotes)'}"
        ) from error
    if not len(numbers):
        raise ConfigError(f"grid: {name} has no values")
    return tuple(np.unique(numbers).tolist())


Row = tuple[Any, ...]


def run_block(sweep: Sweep, cells: Sequence[int]) -> list[Row]:
    """The rows of some cells: cell, optimizer, the axes' values, `Result`'s fields, and why a cell failed or None."""
    rows: dict[int, Row] = {}
    experiments: dict[int, Experiment] = {}

    def row(cell: int, result: Result | None, failure: str | None) -> None:
        optimizer, values = sweep.values(cell)
        results = [getattr(result, name) if result else None for name in RESULTS]
        rows[cell] = (cell, optimizer, *values.values(), *results, failure)

    for cell in cells:
        try:
            experiments[cell] = sweep.experiment(cell)
        except ConfigError as error:
            row(cell, None, str(error))

    def alike(cell: int) -> tuple[str, bool | None, int]:
        experiment = experiments[cell]
        settings = experiment.optimizers[0]
        return settings.name, settings.optimized_update, experiment.problem.steps_per_period or 0

    for _, group in itertools.groupby(sorted(experiments, key=alike), key=alike):
        together = list(group)
        engines = [experiments[cell].build_engine(experiments[cell].optimizers[0]) for cell in together]
        compiled = [engine for engine in engines if isinstance(engine, CompiledEngine)]
        first = experiments[together[0]]
        finished = drive_lanes(compiled, first.steps, first.log_every, fast_forward=first.fast_forward)
        for number, trace, last in finished:
            cell = together[number]
            if isinstance(last, RunFailed):
                row(cell, None, str(last))
            else:
                row(cell, summarize(experiments[cell].problem, trace, last), None)
    return list(rows.values())


class Results:
    """A sweep's results.sqlite; see `open_results`."""

    def __init__(self, directory: Path, sweep: Sweep) -> None:
        """Open it, or make it.

        Raises:
            Damaged: it holds another sweep's cells.
        """
        self._sweep = sweep
        self.columns = ("cell", "optimizer", *sweep.axes, *RESULTS, "failure")
        types = {"cell": "INTEGER PRIMARY KEY", "steps_simulated": "INTEGER", "steps_derived": "INTEGER"}
        texts = ("optimizer", "iterate", "regret_trend", "failure")
        declared = ", ".join(
            f'"{name}" {types.get(name, "TEXT" if name in texts else "REAL")}' for name in self.columns
        )
        self._database = sqlite3.connect(directory / "results.sqlite")
        with self._database:
            self._database.execute("CREATE TABLE IF NOT EXISTS sweep (yaml TEXT)")
            self._database.execute(f"CREATE TABLE IF NOT EXISTS cells ({declared})")
            known = self._database.execute("SELECT yaml FROM sweep").fetchone()
            if known is None:
                self._database.execute("INSERT INTO sweep VALUES (?)", (sweep.to_yaml(),))
        if known is not None and known[0] != sweep.to_yaml():
            raise Damaged(f"{directory / 'sweep.yaml'} is damaged: results.sqlite is of another sweep")
        found = self._database.execute("SELECT name FROM pragma_table_info('cells')").fetchall()
        beyond = self._database.execute("SELECT count(*) FROM cells WHERE cell NOT BETWEEN 0 AND ?", (len(sweep) - 1,))
        if [name for (name,) in found] != list(self.columns) or beyond.fetchone() != (0,):
            raise Damaged(f"{directory / 'results.sqlite'} is damaged: its table is not this sweep's")

    def done(self) -> NDArray[np.bool_]:
        """Which cells have a row."""
        done = np.zeros(len(self._sweep), bool)
        for (cell,) in self._database.execute("SELECT cell FROM cells"):
            done[cell] = True
        return done

    def add(self, rows: Sequence[Row]) -> None:
        """Write some cells' rows, all or none."""
        marks = ", ".join("?" * len(self.columns))
        with self._database:
            self._database.executemany(f"INSERT OR REPLACE INTO cells VALUES ({marks})", rows)

    def rows(self) -> Iterator[Row]:
        """All rows, in the order of cells."""
        yield from self._database.execute("SELECT * FROM cells ORDER BY cell")

    def column(self, name: str) -> NDArray[Any]:
        """One result over the grid, of the sweep's shape; None or NaN where a cell has none."""
        values = [value for (value,) in self._database.execute(f'SELECT "{name}" FROM cells ORDER BY cell')]
        return np.array(values, object if name in ("iterate", "regret_trend") else np.float64).reshape(
            self._sweep.shape
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """For each optimizer, how many cells settle where, or failed."""
        counted: dict[str, dict[str, int]] = {}
        query = "SELECT optimizer, coalesce(iterate, 'failed'), count(*) FROM cells GROUP BY 1, 2"
        for optimizer, iterate, number in self._database.execute(query):
            counted.setdefault(optimizer, {})[iterate] = number
        return counted

    def export_csv(self, path: Path) -> None:
        """All rows as CSV, with a header."""
        content = io.StringIO()
        writer = csv.writer(content)
        writer.writerow(self.columns)
        writer.writerows(self.rows())
        write_atomically(path, content.getvalue().encode())

    def close(self) -> None:
        self._database.close()


@contextlib.contextmanager
def open_results(directory: Path, sweep: Sweep) -> Iterator[Results]:
    """A sweep's results.sqlite, made where it is missing, closed in the end.

    Raises:
        Damaged: it holds another sweep's cells, or is no database.
        RunError: it cannot be read or written.
    """
    path = directory / "results.sqlite"
    try:
        with contextlib.closing(Results(directory, sweep)) as results:
            yield results
    except sqlite3.OperationalError as error:
        raise RunError(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise Damaged(f"{path} is damaged: {error}") from error


@contextlib.contextmanager
def workers(jobs: int = -1, dask: str | None = None) -> Iterator[None]:
    """Where `run_sweep` computes: in threads here, whose loops run without the GIL, or on an existing Dask cluster.

    Args:
        jobs: how many threads; −1 for all cores.
        dask: the address of a Dask scheduler to compute on instead.

    Raises:
        ConfigError: the cluster cannot be reached.
    """
    if dask is None:
        with joblib.parallel_config(backend="threading", n_jobs=jobs):
            yield
        return
    try:
        from amsgrad_exp.cluster import connected
    except ImportError as error:
        raise ConfigError("--dask needs the cluster extra of amsgrad-exp: pip install distributed") from error
    with connected(dask):
        yield


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


def boundary(sweep: Sweep, optimizer: str) -> tuple[NDArray[np.float64], ...] | None:
    """The drift over a sweep's plane, whose zero contour is the analytic boundary.

    Args:
        sweep: with two axes.
        optimizer: one of its optimizers.

    Returns:
        The first axis, the second, and the drift at (second, first), float64 of shapes (points,), (points,) and
        (points, points), with a mesh of 200 points, or 50 where both axes change the problem; None where no steady
        state is known.
    """
    points = 200 if set(sweep.axes) & set(SETTINGS) else 50
    (name_x, values_x), (name_y, values_y) = sweep.axes.items()
    mesh_x, mesh_y = (_refined(values, points, name) for name, values in ((name_x, values_x), (name_y, values_y)))
    mesh: dict[str, NDArray[np.float64]] = dict(zip((name_x, name_y), np.meshgrid(mesh_x, mesh_y), strict=True))
    drifts = np.empty((points, points))
    constants = np.stack([mesh[name] for name in mesh if name not in SETTINGS] or [np.zeros((points, points))])
    try:
        for combination in np.unique(constants.reshape(len(constants), -1), axis=1).T:
            where = np.all(constants == combination[:, None, None], axis=0)
            at = {name: float(mesh[name][where][0]) for name in mesh}
            settings = sweep.at(optimizer, at).optimizers[0]
            beta1, beta2, eps = (
                mesh[name][where] if name in mesh else getattr(settings, name) for name in ("beta1", "beta2", "eps")
            )
            drifts[where] = drift(sweep.at(optimizer, at).problem, optimizer, beta1, beta2, eps)
    except (NoSteadyState, ConfigError):
        return None
    return mesh_x, mesh_y, drifts


def _refined(values: Sequence[float], points: int, name: str) -> NDArray[np.float64]:
    """A finer axis over the same range, spaced as its values are; whole constants stay whole."""
    at = np.linspace(0, len(values) - 1, points)
    refined = np.interp(at, np.arange(len(values)), values)
    return np.round(refined) if name in ("period", "phase") else refined
