"""Guards what a process has only once: labml's experiment, torch's random generator and the home directory."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from amsgrad_exp.errors import RunError

_turn = threading.RLock()
_recording = False


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Exclude other threads from the sections that this or `recording` guards."""
    with _turn:
        yield


@contextlib.contextmanager
def recording() -> Iterator[None]:
    """Guard a recording; other threads wait for their turn, and a recording inside another raises a RunError."""
    global _recording
    with _turn:
        if _recording:
            raise RunError("a recording cannot start inside another: labml tracks one experiment at a time")
        _recording = True
        try:
            yield
        finally:
            _recording = False


def ensure_home() -> None:
    """Give this process a temporary home directory if it has none: no HOME, and a user id that is not in passwd."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = temporary_home()


def temporary_home() -> str:
    """A directory that is removed when the process ends."""
    import shutil
    import tempfile

    home = tempfile.mkdtemp(prefix="amsgrad-exp-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home
