"""Where a run can go on from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from amsgrad_exp.errors import Damaged, NoSuchRun
from amsgrad_exp.records.files import sha256, write_atomically
from amsgrad_exp.records.summary import SCHEMA


@dataclass(frozen=True)
class Checkpoint:
    """Where a run can go on from.

    Attributes:
        step: the number of steps done.
        seconds: the wall time they took.
        trace_bytes, trace_sha256: how much of trace.csv belongs to them, and its SHA-256.
        reference: `Chunk.reference` where the engine was saved, in hexadecimal digits, or None.
        engine: what `Engine.save` returned, at this step or, while steps are being derived, before.
    """

    step: int
    seconds: float
    trace_bytes: int
    trace_sha256: str
    reference: str | None
    engine: bytes

    def write(self, directory: Path) -> None:
        """Replace the directory's checkpoint, keeping the one before it."""
        fields = {"schema": SCHEMA} | asdict(self)
        body = (
            json.dumps({key: value for key, value in fields.items() if key != "engine"}).encode() + b"\n" + self.engine
        )
        path = directory / "checkpoint"
        if path.exists():
            path.replace(directory / "checkpoint.previous")
        write_atomically(path, sha256(body).encode() + b"\n" + body)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a checkpoint back.

        Raises:
            Damaged: the file is not, byte for byte, what was written.
            FileNotFoundError: there is none.
        """
        digest, _, body = path.read_bytes().partition(b"\n")
        if sha256(body).encode() != digest:
            raise Damaged(f"{path} is damaged: its checksum is wrong")
        header, _, engine = body.partition(b"\n")
        fields = json.loads(header)
        if fields.pop("schema") > SCHEMA:
            raise NoSuchRun(f"{path} was written by a newer version of amsgrad-exp")
        return cls(engine=engine, **fields)


def last_checkpoint(directory: Path) -> tuple[Checkpoint | None, str | None]:
    """The newest checkpoint that can be believed, and one line on those that cannot."""
    trouble = None
    trace = (directory / "trace.csv").read_bytes() if (directory / "trace.csv").exists() else b""
    for name in ("checkpoint", "checkpoint.previous"):
        try:
            checkpoint = Checkpoint.read(directory / name)
        except FileNotFoundError:
            continue
        except Damaged as error:
            trouble = f"{error}; going on from before it"
            continue
        if sha256(trace[: checkpoint.trace_bytes]) == checkpoint.trace_sha256:
            return checkpoint, trouble
        trouble = f"{directory / 'trace.csv'} is not what it was at the last checkpoint; going on from before"
    return None, trouble
