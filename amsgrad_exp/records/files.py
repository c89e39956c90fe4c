"""Writes files atomically and with checksums, locks directories, and finds the directories of records."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel

from amsgrad_exp.errors import Damaged, NoSuchRun, RunError

Model = TypeVar("Model", bound=BaseModel)
SCHEMA = 1  # the version of the format of summary.json, attack.json and checkpoints
LOCK_SECONDS = 0.5  # how long `locked` waits for the lock, which `in_use` holds for an instant

# The files of each kind of record; all records but damaged runs have the first.
FILES = {
    "run": ("summary.json", "experiment.yaml", "trace.csv", "checkpoint"),
    "sweep": ("sweep.yaml",),
    "attack": ("attack.json",),
}


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a new file piece by piece and replace the old one at the end: fsync, rename, fsync the directory.

    If a step raises an OSError, the file has either its old or its new content.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")  # another process may be writing the same file
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file atomically, as `replacing` does."""
    with replacing(path) as file:
        file.write(content)


def in_use(directory: Path) -> bool:
    """Whether another process may be writing to a `locked` directory; asking writes and creates nothing."""
    try:
        with (directory / "lock").open("rb") as file:  # a shared flock, so that readers do not collide
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # the lock is held, or cannot be queried
        return True
    return False


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes from writing to a run or a sweep; a RunError names the process that already does."""
    pid = directory / "lock.pid"
    try:
        with FileLock(directory / "lock", timeout=LOCK_SECONDS):
            pid.write_text(str(os.getpid()))
            yield
    except Timeout as error:
        owner = f"process {pid.read_text()}" if pid.exists() else "another process"
        raise RunError(f"{directory} is in use by {owner}") from error


def write_document(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file; its last key is the SHA-256 of the others."""
    document = json.dumps({**content, "sha256": _checksum(content)}, indent=2)
    write_atomically(path, document.encode() + b"\n")


def read_document(model: type[Model], path: Path, kind: str, since: str = "", **more: Any) -> Model:
    """Read such a file as a model, with some more fields; ``kind`` says for messages what it should be.

    Documents without the key ``since`` are older than checksums. NoSuchRun is raised if a newer version wrote the file,
    Damaged if it is damaged.
    """
    try:
        content = dict(json.loads(path.read_bytes()))
        digest = content.pop("sha256", None)
        if digest != _checksum(content) and (digest or not since or since in content):
            raise Damaged(f"{path} is damaged: its checksum is wrong")
        if isinstance(content.get("schema"), int) and content["schema"] > SCHEMA:
            raise NoSuchRun(f"{path.parent} was written by a newer version of amsgrad-exp")
        return model.model_validate(content | more)
    except (ValueError, TypeError, RecursionError) as error:
        raise Damaged(f"{path} is damaged: it is not {kind}") from error


def _checksum(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content).encode())


@dataclass(frozen=True)
class Record:
    """A record on disk: its kind, a key of `FILES`, and its directory."""

    kind: str
    directory: Path


def records(kind: str, out: Path) -> list[Path]:
    """The directories of the records of a kind under ``out``, oldest first."""
    return [path.parent for path in sorted(out.glob(f"*/*/{FILES[kind][0]}"), key=_started)]


def _started(path: Path) -> datetime:
    """When a record was started, from its first file."""
    try:
        return datetime.fromisoformat(json.loads(path.read_bytes())["started"])
    except (ValueError, KeyError, TypeError, RecursionError):  # sweep.yaml, which is written once, or a damaged file
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def kind_of(directory: Path) -> str | None:
    """The kind of record that a directory is, if any."""
    return next((kind for kind, names in FILES.items() if any((directory / name).is_file() for name in names)), None)


def find(reference: str, places: Mapping[str, Path], kinds: Sequence[str] = tuple(FILES)) -> Record:
    """Find a record by its directory, its id or the beginning of the id, or "last" for the newest of some kinds.

    ``places`` are the directories under which the records of each kind are. NoSuchRun is raised if there is no such
    record of these kinds, or more than one.
    """
    record = None
    with contextlib.suppress(OSError):  # the reference may be too long for a path
        if (directory := Path(reference)).is_dir():
            if not (kind := kind_of(directory)):
                files = " and no ".join(FILES[kind][0] for kind in kinds)
                raise NoSuchRun(f"{directory} is not a {' or '.join(kinds)}: it has no {files}")
            record = Record(kind, directory.resolve())
    if record is None and reference == "last":
        found = [Record(kind, directory.resolve()) for kind in kinds for directory in records(kind, places[kind])]
        if not found:
            raise NoSuchRun(f"there are no {' and no '.join(f'{kind}s under {places[kind]}' for kind in kinds)}")
        record = max(found, key=lambda record: _started(record.directory / FILES[record.kind][0]))
    if record is None:
        begun = [
            Record(kind, directory.resolve())
            for kind, out in places.items()
            for directory in sorted(out.glob("*/*"))
            if directory.name.startswith(reference) and kind_of(directory) == kind
        ]
        if len(begun) != 1:
            counts = Counter(record.kind for record in begun)
            several = (f"{number} {kind}{'s' * (number > 1)} under {places[kind]}" for kind, number in counts.items())
            none = f"no {' or '.join(f'{kind} under {places[kind]}' for kind in kinds)} has"
            said = f"{' and '.join(several)} have" if counts else none
            lists = " or ".join(f"list {kind}s" for kind in counts or kinds)
            raise NoSuchRun(f"{said} an id that begins with {reference!r}: see amsgrad-exp {lists}")
        (record,) = begun
    if record.kind not in kinds:
        what = f"a{'n' * (record.kind == 'attack')} {record.kind}, not a {' or '.join(kinds)}"
        raise NoSuchRun(f"{reference} is {what}: amsgrad-exp report {reference} shows it")
    return record
