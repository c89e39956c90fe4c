"""Provides the executors that compute a sweep: local threads or a Dask cluster."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

from amsgrad_exp.engines.compiling import compilers
from amsgrad_exp.errors import ConfigError

_told = threading.local()


def told_to_stop() -> bool:
    """Whether this thread's result is no longer needed; long computations ask this regularly."""
    stopping: threading.Event | None = getattr(_told, "stopping", None)
    return stopping is not None and stopping.is_set()


class Threads(Executor):
    """Threads that can be told to stop, unlike those of a `ThreadPoolExecutor`, which finish their blocks first."""

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
    """An executor for `sweep`: local threads, whose loops run without the GIL, or an existing Dask cluster.

    At the end, unfinished tasks are told to stop. Threads are waited for, because torch crashes if the process ends
    while it computes.

    Args:
        jobs: the number of threads; None for one per core.
        dask: the address of a Dask scheduler to use instead of threads.

    Raises:
        ConfigError: no scheduler answers, or distributed is not installed.
        RunError: the cluster has no workers, a worker has another version of amsgrad-exp, or the cluster was lost.
    """
    if dask is None:
        number = jobs or _cores()
        with compilers(number):
            threads = Threads(number)
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
    """The number of cores that this process may use, or of all cores if the platform does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
