"""Stores the rows of finished cells, and the points of their curves, in results.sqlite."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import sqlite3
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines.summarize import Result, trend_by_slope
from amsgrad_exp.errors import Damaged, RunError
from amsgrad_exp.numbers import load
from amsgrad_exp.records.files import replacing, sha256
from amsgrad_exp.spec.sweep import Plan
from amsgrad_exp.trace import Trace

Row = dict[str, Any]
Points = Mapping[str, bytes]

POINTS = 48  # most points per cell
BLOBS = {"step": "<i8", "x": "<f8", "regret": "<f8"}  # the stored columns of `Trace` and their dtypes

LEFT_OUT = ("limit_predicted",)  # a field of `Result` without a column: predicting takes longer than the cell
CHECKSUM = "sha256"  # the column with the checksum of the other columns; 0.1.0 wrote none
BUSY_SECONDS = 5.0  # how long to wait for another process to release the database
SINCE_0_2 = {"evidence", "limit_regret", "cycle_start", "cycle_steps"}  # columns that older tables lack
SQL_TYPES = {int: "INTEGER", int | None: "INTEGER", float: "REAL", float | None: "REAL"}  # everything else: TEXT


def results_of(plan: Plan) -> dict[str, str]:
    """Return the fields of `Result` that have a column, and their SQL types."""
    kinds = typing.get_type_hints(Result)
    names = [field.name for field in fields(Result) if field.name not in LEFT_OUT]
    names = [name for name in names if plan.curves or not name.endswith("_halfwidth")]
    return {name: SQL_TYPES.get(kinds[name], "TEXT") for name in names}


def packed(trace: Trace) -> Points:
    """Choose points of a trace, evenly spaced in log t, and return each column of `BLOBS` as bytes."""
    spread = trace.spread(POINTS).columns
    return {name: spread[name].astype(kind).tobytes() for name, kind in BLOBS.items()}


def as_kept(row: Row) -> Row:
    """Return a row as SQLite returns it, without NaN and negative zeros."""
    return {
        name: (None if math.isnan(value) else value + 0.0) if isinstance(value, float) else value
        for name, value in row.items()
    }


def checksum(row: Row) -> str:
    """Return the SHA-256 of a row's names and values."""
    return sha256(json.dumps(row, sort_keys=True).encode())


def points_checksum(cell: int, blobs: Points) -> str:
    """Return the SHA-256 of a cell's number and points."""
    return checksum({"cell": cell, **{name: blob.hex() for name, blob in blobs.items()}})


class Results:
    """A sweep's results.sqlite; see `open_results`."""

    columns: tuple[str, ...]  # of a row, without its checksum
    checksums: bool  # whether its rows have a checksum
    older: bool  # whether a version before 0.2 wrote it, so that its trends depend only on slopes
    has_points: bool  # whether it has the points of its cells' curves

    def __init__(self, path: Path, sweep: Plan) -> None:
        self._database = database = sqlite3.connect(path, timeout=BUSY_SECONDS)
        self._sweep = sweep
        told_apart = {"optimizer": "TEXT", **sweep.columns}
        self._types = types = {"cell": "INTEGER", **told_apart, **results_of(sweep), "failure": "TEXT"}
        with database:
            database.execute("CREATE TABLE IF NOT EXISTS sweep (yaml TEXT)")
            self._create("cells", types)
            known = database.execute("SELECT yaml FROM sweep").fetchone()
            if known is None and len(self):
                raise Damaged(f"{path} is damaged: it does not name the sweep of its cells")
            if known is None:
                if sweep.curves:
                    self._create("points", {"cell": "INTEGER", **dict.fromkeys(BLOBS, "BLOB")})
                database.execute("INSERT INTO sweep VALUES (?)", (sweep.to_yaml(),))
        try:
            another = known is not None and load(str(known[0])) != load(sweep.to_yaml())
        except ValueError:
            another = True
        if another:
            raise Damaged(f"{path.with_name('sweep.yaml')} is damaged: results.sqlite belongs to another sweep")
        present = {name for (name,) in database.execute("SELECT name FROM pragma_table_info('cells')")}
        self.checksums, self.older = CHECKSUM in present, not present & SINCE_0_2
        self.has_points = bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'points'").fetchall())
        self.columns = tuple(name for name in types if not self.older or name not in SINCE_0_2)
        beyond = database.execute("SELECT count(*) FROM cells WHERE cell NOT BETWEEN 0 AND ?", (len(sweep) - 1,))
        if present - {CHECKSUM} != set(self.columns) or beyond.fetchone() != (0,):
            raise Damaged(f"{path} is damaged: its table belongs to another sweep")

    def _create(self, table: str, columns: Mapping[str, str]) -> None:
        kinds = {**columns, "cell": "INTEGER PRIMARY KEY", CHECKSUM: "TEXT"}
        declared = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
        self._database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({declared})")

    def __len__(self) -> int:
        (number,) = self._database.execute("SELECT count(*) FROM cells").fetchone()
        return int(number)

    @property
    def was_complete(self) -> bool:
        """Whether every cell once had a row; always False for sweeps of 0.1.0."""
        (mark,) = self._database.execute("PRAGMA user_version").fetchone()
        return bool(mark)

    def complete(self) -> None:
        """Mark every cell as done."""
        self._database.execute("PRAGMA user_version = 1")

    def done(self) -> NDArray[np.bool_]:
        """For each cell, whether it has a row."""
        done = np.zeros(len(self._sweep), bool)
        for (cell,) in self._database.execute("SELECT cell FROM cells"):
            done[cell] = True
        return done

    def kept(self, row: Row) -> Row:
        """Return a row as this table would return it."""
        kept = as_kept({name: row[name] for name in self.columns})
        if self.older and row["regret_trend"] is not None:
            kept["regret_trend"] = trend_by_slope(row["regret"], row["regret_slope"])
        return kept

    def add(self, rows: Iterable[Row]) -> None:
        """Write the rows and points of some cells in one transaction."""
        rows = list(rows)
        kept = [row | ({CHECKSUM: checksum(row)} if self.checksums else {}) for row in map(self.kept, rows)]
        curves = [
            {"cell": row["cell"], **row["points"], CHECKSUM: points_checksum(row["cell"], row["points"])}
            for row in rows
            if self.has_points and "points" in row
        ]
        with self._database:
            self._insert("cells", kept)
            self._insert("points", curves)

    def _insert(self, table: str, rows: Sequence[Row]) -> None:
        names = list(rows[0]) if rows else []
        into, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
        # A statement has many rows, because sqlite3 releases the GIL for each statement and must wait to get it back.
        at_once = self._database.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // max(1, len(names))
        for begin in range(0, len(rows), at_once):
            some = rows[begin : begin + at_once]
            tuples = ", ".join([f"({marks})"] * len(some))
            values = [row[name] for row in some for name in names]
            self._database.execute(f"INSERT OR REPLACE INTO {table} ({into}) VALUES {tuples}", values)

    def rows(self) -> Iterator[Row]:
        """Yield all rows, ordered by cell."""
        return (row for row, _ in self._select("ORDER BY cell"))

    def row(self, cell: int) -> Row:
        """Return the row of a finished cell."""
        return next(self._select("WHERE cell = ?", cell))[0]

    def checked_rows(self) -> Iterator[tuple[Row, str | None]]:
        """Yield all rows, ordered by cell, each with what has a wrong checksum, the "row", its "curve" or None."""
        for row, written in self._select("ORDER BY cell"):
            if self.checksums and written != checksum(row):
                yield row, "row"
            else:
                yield row, None if self._right_points(row) else "curve"

    def _select(self, which: str, *values: int) -> Iterator[tuple[Row, str | None]]:
        selected = ", ".join(f'"{name}"' for name in self.columns) + (f', "{CHECKSUM}"' if self.checksums else ", NULL")
        for *kept, written in self._database.execute(f"SELECT {selected} FROM cells {which}", values):
            yield dict(zip(self.columns, kept, strict=True)), written

    def points(self, cell: int) -> Points | None:
        """Return the points of a cell's curve; None if the cell failed or is not done, or the plan keeps no curves."""
        return self._curve(cell)[0]

    def _right_points(self, row: Row) -> bool:
        """Whether the points of a row are undamaged, and missing only if the cell failed."""
        if not self.has_points:
            return True
        points, written = self._curve(row["cell"])
        if points is None or row["failure"] is not None:
            return points is None and row["failure"] is not None
        whole = all(isinstance(blob, bytes) for blob in points.values())
        return whole and written == points_checksum(row["cell"], points)

    def _curve(self, cell: int) -> tuple[Points | None, str | None]:
        names = ", ".join(f'"{name}"' for name in (*BLOBS, CHECKSUM))
        query = f"SELECT {names} FROM points WHERE cell = ?"
        *blobs, written = (self.has_points and self._database.execute(query, (cell,)).fetchone()) or [None]
        return dict(zip(BLOBS, blobs, strict=True)) if blobs else None, written

    def column(self, name: str) -> NDArray[Any]:
        """Return one column over the grid, of the sweep's shape; missing values are None or NaN."""
        values = self._database.execute(f'SELECT cell, "{name}" FROM cells') if name in self.columns else ()
        text = self._types[name] == "TEXT"
        column = np.full(len(self._sweep), None if text else np.nan, object if text else np.float64)
        for cell, value in values:
            column[cell] = value
        return column.reshape(self._sweep.shape)

    def counts(self) -> dict[str, dict[str, int]]:
        """Count, for each optimizer, the cells with each verdict and the failed cells."""
        counted: dict[str, dict[str, int]] = {}
        query = "SELECT optimizer, coalesce(iterate, 'failed'), count(*) FROM cells GROUP BY 1, 2"
        for optimizer, iterate, number in self._database.execute(query):
            counted.setdefault(optimizer, {})[iterate] = number
        return counted

    def failures(self) -> dict[str, tuple[int, int, str]]:
        """Return, for each optimizer with failed cells, how many failed and are done, and why the first failed."""
        query = """SELECT optimizer, count(failure), count(*), failure, min(CASE WHEN failure IS NOT NULL THEN cell END)
            FROM cells GROUP BY optimizer HAVING count(failure) > 0"""
        found = self._database.execute(query)
        return {optimizer: (failed, cells, reason) for optimizer, failed, cells, reason, _ in found}

    def export_csv(self, path: Path) -> None:
        """Write all rows as CSV with a header."""
        with replacing(path) as file:
            text = io.TextIOWrapper(file, "utf-8", newline="")
            writer = csv.DictWriter(text, self.columns)
            writer.writeheader()
            writer.writerows(self.rows())
            text.detach()

    def close(self) -> None:
        self._database.close()


@contextlib.contextmanager
def open_results(directory: Path, sweep: Plan) -> Iterator[Results]:
    """Open a sweep's results.sqlite, which is created if missing; raise Damaged or RunError if that fails."""
    path = directory / "results.sqlite"
    try:
        with contextlib.closing(Results(path, sweep)) as results:
            yield results
    except sqlite3.OperationalError as error:
        raise RunError(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise Damaged(f"{path} is damaged: {error}") from error
