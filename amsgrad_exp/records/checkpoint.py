"""Writes trace.csv and the checkpoints during a run, from which it can be resumed."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from amsgrad_exp.errors import Damaged, NoSuchRun
from amsgrad_exp.records.files import sha256, write_atomically
from amsgrad_exp.records.run import format_rows
from amsgrad_exp.records.summary import SCHEMA
from amsgrad_exp.trace import Trace


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


@dataclass(frozen=True)
class Checkpoint:
    """The state from which a run can be resumed; by default that at its start, before the engine is saved.

    Attributes:
        step: the number of steps done.
        seconds: the wall time they took.
        trace_bytes, trace_sha256: the size and the SHA-256 of the part of trace.csv that belongs to these steps.
        reference: `Chunk.reference` at the step at which the engine was saved.
        engine: what `Engine.save` returned, at this step or, while steps are being derived, at an earlier one.
    """

    step: int = 0
    seconds: float = 0.0
    trace_bytes: int = 0
    trace_sha256: str = sha256(b"")
    reference: bytes | None = None
    engine: bytes = b""

    def write(self, directory: Path) -> None:
        """Replace the directory's checkpoint and keep the previous one."""
        header = {"schema": SCHEMA, **vars(self), "reference": None if self.reference is None else self.reference.hex()}
        del header["engine"]
        body = json.dumps(header).encode() + b"\n" + self.engine
        path = directory / "checkpoint"
        if path.exists():
            path.replace(directory / "checkpoint.previous")
        write_atomically(path, sha256(body).encode() + b"\n" + body)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises:
            Damaged: the checksum is wrong.
            NoSuchRun: it was written by a newer version.
        """
        digest, _, body = path.read_bytes().partition(b"\n")
        if sha256(body).encode() != digest:
            raise Damaged(f"{path} is damaged: its checksum is wrong")
        header, _, engine = body.partition(b"\n")
        fields = json.loads(header)
        if fields.pop("schema") > SCHEMA:
            raise NoSuchRun(f"{path} was written by a newer version of amsgrad-exp")
        reference = fields.pop("reference")
        return cls(engine=engine, reference=None if reference is None else bytes.fromhex(reference), **fields)


def last_checkpoint(directory: Path) -> tuple[Checkpoint | None, bytes, str | None]:
    """The newest undamaged checkpoint, the part of trace.csv before it, and what is wrong with newer checkpoints."""
    trouble = None
    trace = (directory / "trace.csv").read_bytes() if (directory / "trace.csv").exists() else b""
    for name in ("checkpoint", "checkpoint.previous"):
        try:
            checkpoint = Checkpoint.read(directory / name)
        except FileNotFoundError:
            continue
        except Damaged as error:
            trouble = f"{error}; resuming from an earlier checkpoint"
            continue
        kept = trace[: checkpoint.trace_bytes]
        if sha256(kept) == checkpoint.trace_sha256:
            return checkpoint, kept, trouble
        trouble = f"{directory / 'trace.csv'} has changed since the last checkpoint; resuming from an earlier one"
    return None, b"", trouble
