"""Writes and reads the checkpoints from which a run can be resumed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from amsgrad_exp.errors import Damaged, NoSuchRun
from amsgrad_exp.records.files import sha256, write_atomically
from amsgrad_exp.records.summary import SCHEMA


@dataclass(frozen=True)
class Checkpoint:
    """The state from which a run can be resumed.

    Attributes:
        step: the number of steps done.
        seconds: the wall time they took.
        trace_bytes, trace_sha256: the size and the SHA-256 of the part of trace.csv that belongs to these steps.
        reference: `Chunk.reference` at the step at which the engine was saved.
        engine: what `Engine.save` returned, at this step or, while steps are being derived, at an earlier one.
    """

    step: int
    seconds: float
    trace_bytes: int
    trace_sha256: str
    reference: bytes | None
    engine: bytes

    @classmethod
    def start(cls, engine: bytes) -> Checkpoint:
        """The checkpoint at step 0, from what `Engine.save` returned there."""
        return cls(step=0, seconds=0.0, trace_bytes=0, trace_sha256=sha256(b""), reference=None, engine=engine)

    def write(self, directory: Path) -> None:
        """Replace the directory's checkpoint and keep the previous one."""
        header = {
            "schema": SCHEMA,
            "step": self.step,
            "seconds": self.seconds,
            "trace_bytes": self.trace_bytes,
            "trace_sha256": self.trace_sha256,
            "reference": None if self.reference is None else self.reference.hex(),
        }
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
            FileNotFoundError: the file does not exist.
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
    """Find the newest undamaged checkpoint.

    Returns:
        The checkpoint or None, the part of trace.csv before it, and one line on what is wrong with newer checkpoints.
    """
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
