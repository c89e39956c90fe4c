"""Provides the executors that compute a sweep: local threads or a Dask cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor
from importlib.metadata import version
from typing import TYPE_CHECKING

from amsgrad_exp.engines.loop_cache import compilers
from amsgrad_exp.errors import ConfigError, RunError

if TYPE_CHECKING:
    pass

CONNECT_SECONDS = 10
WORKERS_SECONDS = 30

_thread = threading.local()


def told_to_stop() -> bool:
    """Whether this thread's result is no longer needed; long computations ask this regularly."""
    stopping: threading.Event | None = getattr(_thread, "stopping", None)
    return stopping is not None and stopping.is_set()


@contextlib.contextmanager
def workers(jobs: int | None = None, dask: str | None = None) -> Iterator[Executor]:
    """Provide an executor for `sweep`: ``jobs`` threads (by default one per core), or the workers of a Dask scheduler.

    The loops of threads run without the GIL. At the end, unfinished tasks are told to stop; the threads are awaited,
    because torch crashes if the process ends while it computes.
    """
    if dask is not None:
        with _connected(dask) as executor:
            yield executor
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    number, stopping = jobs or cores, threading.Event()
    with (
        compilers(number),
        ThreadPoolExecutor(number, initializer=lambda: setattr(_thread, "stopping", stopping)) as threads,
    ):
        try:
            yield threads
        finally:
            stopping.set()
            threads.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Executor]:
    """Provide the workers of a Dask scheduler, including those that join later."""
    try:
        from distributed import Client, KilledWorker
        from distributed.comm.core import CommClosedError
    except ImportError as error:
        raise ConfigError("--dask needs the cluster extra of amsgrad-exp: pip install distributed") from error
    for name in ("distributed", "distributed.client", "distributed.core"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=CONNECT_SECONDS)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ConfigError(f"--dask {address}: no scheduler answers there") from error
    try:
        with client:
            try:
                client.wait_for_workers(1, timeout=WORKERS_SECONDS)
            except TimeoutError as error:
                raise RunError(f"--dask {address}: no workers within {WORKERS_SECONDS} seconds") from error
            here = version("amsgrad-exp")
            for worker, there in client.run(version, "amsgrad-exp", on_error="return").items():
                if there != here:
                    known = there if isinstance(there, str) else "none"
                    raise RunError(f"--dask {address}: amsgrad-exp {here} is needed, but {worker} has {known}")
            executor: Executor = client.get_executor(pure=False)  # type: ignore[no-untyped-call]
            yield executor
            executor.shutdown(wait=False)
    except (CancelledError, CommClosedError, KilledWorker) as error:
        raise RunError(f"--dask {address}: the cluster was lost ({type(error).__name__})") from error
