"""Files whole or not at all, locks, SHA-256."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from amsgrad_exp.errors import RunError


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file anew, piece by piece, and replace it as a whole at the end: fsync, rename, fsync the directory.

    Raises:
        OSError: something of that failed; the file is then as it was, or as it was to be.
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
    """Replace a file as a whole; as `replacing`, with all of its content at hand."""
    with replacing(path) as file:
        file.write(content)


# How long `locked` waits for a lock, which readers hold for as long as it takes to close a file.
LOCK_SECONDS = 0.5


def in_use(directory: Path) -> bool:
    """Whether another process may be at what `locked` protects; to find out writes nothing and creates nothing."""
    try:
        with (directory / "lock").open("rb") as file:  # a flock, as filelock's: shared, so that readers do not collide
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # held, or a lock that cannot be asked
        return True
    return False


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes from writing to a run or a sweep.

    Raises:
        RunError: another process is at it; the message has its id.
    """
    pid = directory / "lock.pid"
    try:
        with FileLock(directory / "lock", timeout=LOCK_SECONDS):
            pid.write_text(str(os.getpid()))
            yield
    except Timeout as error:
        owner = f"process {pid.read_text()}" if pid.exists() else "another process"
        raise RunError(f"{directory} is in use by {owner}") from error
