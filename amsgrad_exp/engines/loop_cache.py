"""Caches compiled loops on disk, and compiles them in other processes during a sweep on threads.

The key of a loop is a digest of all code that it reaches. Numba's own key contains only the name of a function of
another module, and would keep using the old code after an edit. An unreadable or damaged file counts as missing.

Numba compiles one loop at a time in a process. Other processes compile loops into the cache, where the thread that
needs a loop finds it. If anything goes wrong, the thread compiles the loop itself.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import pickle
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps  # unlike pickle, it supports nested functions, which some rules have

from amsgrad_exp.code import digest

OF_ALL = "intrinsics", "loops"  # modules with code that loops reach in ways that `digest` does not follow
FEW = 6  # loops that are compiled in this process first, because starting another process takes a second
DONE = b"+"
SERVE = f"import sys; sys.path[:] = {{path!r}}; from {__name__} import serve; serve()"

_open: Compilers | None = None


@functools.cache
def _code_of_all() -> str:
    """Return a digest of the code of `OF_ALL` without docstrings."""
    files = (Path(__file__).with_name(f"{name}.py") for name in OF_ALL)
    return digest(*(compile(file.read_bytes(), file.name, "exec", optimize=2) for file in files))


class LoopCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of one function, with a file for each combination of argument types, which starts with a checksum.

    Numba's own files share an index. If two processes compile at once, both may take the same number in it, and a third
    process then loads the wrong loop. Numba would also run a loop from a damaged file. Here, a loop is compiled again
    if its file cannot be loaded.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._name_of_files = re.sub(r"-\d+\.", ".", self._impl.filename_base)  # without the line of the function
        self._made_by = numba.__version__, _code_of_all()

    def _path(self, sig: Any, codegen: Any) -> Path:
        kind = hashlib.sha256(repr((sig, codegen.magic_tuple(), digest(self._py_func))).encode()).hexdigest()[:16]
        return Path(self.cache_path) / f"{self._name_of_files}.{kind}.nbc"

    def has(self, sig: Any, codegen: Any) -> bool:
        """Whether the cache has a file for these argument types."""
        return self._path(sig, codegen).exists()

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        with contextlib.suppress(Exception):  # unpickling may raise anything
            content = self._path(sig, target_context.codegen()).read_bytes()
            if hashlib.sha256(content[32:]).digest() == content[:32]:
                made_by, data = pickle.loads(content[32:])
                return self._impl.rebuild(target_context, data) if made_by == self._made_by else None
        return None

    def _save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(Exception):  # the next process then compiles it again
            self._impl.locator.ensure_cache_path()
            content = dumps((self._made_by, self._impl.reduce(data)))
            with self._cache_file._open_for_write(self._path(sig, data.codegen)) as file:
                file.write(hashlib.sha256(content).digest() + content)


class Compilers:
    """At most ``number`` processes that compile loops; each is started when it is first needed."""

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
        """Let a process compile the loop of a recipe (see `loops.Loop`) for these argument types, and wait for it."""
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
        """End the processes by closing their input; later loops are compiled in this process."""
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
    assert process.stdin is not None
    assert process.stdout is not None
    pickle.dump(dumps((recipe, signature)), process.stdin)
    process.stdin.flush()
    if process.stdout.read(1) != DONE:
        raise ValueError("not compiled")


def serve() -> None:
    """Compile the loops requested on standard input until it ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    with contextlib.suppress(EOFError):
        while True:
            (make, arguments, options), signature = pickle.loads(pickle.load(requests))
            make(*arguments, **options).dispatcher.compile(signature)
            answers.write(DONE)
            answers.flush()


@contextlib.contextmanager
def compilers(number: int) -> Iterator[None]:
    """Compile loops in up to ``number`` processes if the cache lacks many; if it is 1, compile in this process."""
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
    """Return the processes to compile in, if there are any."""
    return _open
