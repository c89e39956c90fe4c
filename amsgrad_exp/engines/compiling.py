"""Compiles loops in other processes during a sweep on threads, because Numba compiles one loop at a time per process.

The processes put loops into the cache on disk, where the thread that needs one finds it. If anything goes wrong, the
thread compiles the loop itself.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any

FEW = 6  # loops compiled in this process first: starting another takes a second
DONE = b"+"
SERVE = "import sys; sys.path[:] = {path!r}; from amsgrad_exp.engines.compiling import serve; serve()"

_open: Compilers | None = None


class Compilers:
    """Processes that compile loops.

    Args:
        number: the largest number of processes; each is started when it is first needed.
    """

    def __init__(self, number: int) -> None:
        self.compiled = 0
        self._missing = 0
        self._given_up = False
        self._lock = threading.Lock()
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes] | None] = queue.SimpleQueue()
        self._number = number
        for _ in range(number):
            self._idle.put(None)

    def compile(self, recipe: Any, signature: Any) -> None:
        """Have a loop compiled for some argument types, and wait for it.

        Args:
            recipe: (function, arguments, keyword arguments), a call that makes the loop.
            signature: Numba's types of the loop's arguments.
        """
        with self._lock:
            self._missing += 1
            if self._missing <= FEW or self._given_up:
                return
        process = self._idle.get()
        try:
            if self._given_up:
                return
            process = process or _started()
            _send(process, recipe, signature)
            self.compiled += 1
        except Exception:  # pickling and pipes may raise anything
            self._given_up = True
            if process is not None:
                process.kill()
                process.communicate()
            process = None
        finally:
            self._idle.put(process)

    def close(self) -> None:
        """End the processes by closing their input; a loop needed after that is compiled in this process."""
        self._given_up = True
        for process in [self._idle.get() for _ in range(self._number)]:
            if process is not None:
                process.communicate()
            self._idle.put(None)


def _started() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SERVE.format(path=sys.path)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True)


def _send(process: subprocess.Popen[bytes], recipe: Any, signature: Any) -> None:
    from numba.core.serialize import dumps  # unlike pickle's, also of functions inside functions, as some rules have

    assert process.stdin is not None
    assert process.stdout is not None
    pickle.dump(dumps((recipe, signature)), process.stdin)
    process.stdin.flush()
    if process.stdout.read(1) != DONE:
        raise ValueError("not compiled")


def serve() -> None:
    """Compile what is requested on standard input until it ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    with contextlib.suppress(EOFError):
        while True:
            _compile(requests)
            answers.write(DONE)
            answers.flush()


def _compile(requests: IO[bytes]) -> None:
    (make, arguments, options), signature = pickle.loads(pickle.load(requests))
    make(*arguments, **options).dispatcher.compile(signature)


@contextlib.contextmanager
def compilers(number: int) -> Iterator[None]:
    """Compile loops in up to ``number`` processes if many are missing in the cache, or in this process if it is 1."""
    global _open
    before, own = _open, Compilers(number) if number > 1 else None
    _open = own
    try:
        yield
    finally:
        _open = before
        if own is not None:
            own.close()


def opened() -> Compilers | None:
    """The processes to compile in, if there are any."""
    return _open
