"""Writes files atomically, locks directories and computes SHA-256."""

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
    """Write a new file piece by piece and replace the old one at the end: fsync, rename, fsync the directory.

    Raises:
        OSError: a step failed; the file then has either its old or its new content.
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
    """Replace a file atomically; errors as in `replacing`."""
    with replacing(path) as file:
        file.write(content)


# How long `locked` waits for the lock; `in_use` holds it for an instant.
LOCK_SECONDS = 0.5


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
    """Keep other processes from writing to a run or a sweep.

    Raises:
        RunError: another process is writing; the message has its id.
    """
    pid = directory / "lock.pid"
    try:
        with FileLock(directory / "lock", timeout=LOCK_SECONDS):
            pid.write_text(str(os.getpid()))
            yield
    except Timeout as error:
        owner = f"process {pid.read_text()}" if pid.exists() else "another process"
        raise RunError(f"{directory} is in use by {owner}") from error
