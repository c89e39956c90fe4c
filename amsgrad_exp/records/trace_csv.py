"""Writes trace.csv during a run, and parses it."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import fields
from pathlib import Path

import numpy as np

from amsgrad_exp.errors import Damaged
from amsgrad_exp.trace import Trace

COLUMNS = [field.name for field in fields(Trace)]


class TraceWriter:
    """Appends to trace.csv and keeps the SHA-256 of its content."""

    def __init__(self, path: Path, kept: bytes = b"") -> None:
        """Open the file and reduce its content to ``kept``."""
        self._empty = not kept
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._digest = hashlib.sha256(kept)
        self._file.truncate(len(kept))
        self._file.write(kept)
        self._file.flush()

    def append(self, trace: Trace) -> None:
        """Write the rows of ``trace`` without waiting for the disk."""
        if not len(trace):
            return
        rows = format_rows(trace, header=self._empty)
        self._empty = False
        self._file.write(rows)
        self._file.flush()
        self._digest.update(rows)

    def sync(self) -> tuple[int, str]:
        """Wait until all rows are on disk; return the file's size in bytes and its SHA-256."""
        os.fsync(self._file.fileno())
        return self._file.tell(), self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()


def format_rows(trace: Trace, *, header: bool) -> bytes:
    """A trace as lines of trace.csv, with the shortest digits that restore every bit."""
    columns = trace.columns
    names = ",".join(columns) + "\n" if header else ""
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return (names + "".join(",".join(map(repr, row)) + "\n" for row in rows)).encode()


def parse_trace(content: bytes) -> Trace:
    """Parse the content of trace.csv.

    Raises:
        Damaged: a row is not an integer followed by finite numbers, or the last row is cut off.
    """
    if not content:
        return Trace.empty()
    names = content[: content.find(b"\n")].decode(errors="replace").split(",")
    if names not in (COLUMNS[:4], COLUMNS) or not content.endswith(b"\n"):
        raise Damaged("trace.csv is damaged: its first or last line is incomplete")
    dtype = np.dtype([(name, np.int64 if name == "step" else np.float64) for name in names])
    try:
        rows = np.loadtxt(io.BytesIO(content), dtype, delimiter=",", skiprows=1, ndmin=1, comments=None)
    except (ValueError, OverflowError) as error:
        raise Damaged(f"trace.csv is damaged: {error}") from error
    trace = Trace(*(np.ascontiguousarray(rows[name]) for name in names))
    if not all(np.isfinite(column).all() for column in trace.columns.values()):
        raise Damaged("trace.csv is damaged: it contains a number that is not finite")
    return trace
