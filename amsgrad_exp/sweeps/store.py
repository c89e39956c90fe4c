"""results.sqlite: a row for each cell that is done."""

from __future__ import annotations

import contextlib
import csv
import io
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.driver.result import Result
from amsgrad_exp.errors import Damaged, RunError
from amsgrad_exp.records.files import write_atomically
from amsgrad_exp.spec.grid import Sweep

Row = tuple[Any, ...]

RESULTS = tuple(field.name for field in fields(Result) if not field.name.endswith("_halfwidth"))


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
