"""Where a sweep computes: on threads here, or on a Dask cluster."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

from amsgrad_exp.errors import ConfigError

_told = threading.local()


def told_to_stop() -> bool:
    """Whether nobody waits any more for what this thread computes; asked by what takes long."""
    stopping: threading.Event | None = getattr(_told, "stopping", None)
    return stopping is not None and stopping.is_set()


class Threads(Executor):
    """Threads that can be told to stop: those of a `ThreadPoolExecutor` would finish their blocks first."""

    def __init__(self, number: int) -> None:
        self._stopping = threading.Event()
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(number)]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._tasks.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            self._stopping.set()
        while cancel_futures and not self._tasks.empty():
            with contextlib.suppress(queue.Empty):
                if task := self._tasks.get_nowait():
                    task[0].cancel()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _work(self) -> None:
        _told.stopping = self._stopping
        while task := self._tasks.get():
            future, call = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)


@contextlib.contextmanager
def workers(jobs: int | None = None, dask: str | None = None) -> Iterator[Executor]:
    """An executor for `sweep`: threads here, whose loops run without the GIL, or an existing Dask cluster.

    What is still under way in the end is told to stop; on threads it is waited for, until it asks, for torch does not
    survive a process that ends while it computes.

    Args:
        jobs: how many threads; None for as many as there are cores.
        dask: the address of a Dask scheduler to compute on instead.

    Raises:
        ConfigError: no scheduler answers, or distributed is not installed.
        RunError: the cluster has no workers, or workers without this version of amsgrad-exp, or was lost.
    """
    if dask is None:
        threads = Threads(jobs or _cores())
        try:
            yield threads
        finally:
            threads.shutdown(cancel_futures=True)
        return
    try:
        from amsgrad_exp.sweeps.cluster import connected
    except ImportError as error:
        raise ConfigError("--dask needs the cluster extra of amsgrad-exp: pip install distributed") from error
    with connected(dask) as executor:
        yield executor


def _cores() -> int:
    """Those that this process may use, where the platform says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
