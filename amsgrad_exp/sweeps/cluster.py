"""Provides a Dask cluster as an executor; no other module imports distributed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor
from importlib.metadata import version

from distributed import Client, KilledWorker
from distributed.comm.core import CommClosedError

from amsgrad_exp.errors import ConfigError, RunError

CONNECT_SECONDS = 10
WORKERS_SECONDS = 30


@contextlib.contextmanager
def connected(address: str) -> Iterator[Executor]:
    """The workers of a Dask scheduler, including those that join later.

    Raises:
        ConfigError: no scheduler answers.
        RunError: the cluster has no workers, a worker has another version of amsgrad-exp, or the cluster was lost.
    """
    for name in ("distributed", "distributed.client", "distributed.core"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=CONNECT_SECONDS)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ConfigError(f"--dask {address}: no scheduler answers there") from error
    try:
        with client:
            _check_workers(client, address)
            executor: Executor = client.get_executor(pure=False)  # type: ignore[no-untyped-call]
            yield executor
            executor.shutdown(wait=False)
    except (CancelledError, CommClosedError, KilledWorker) as error:
        raise RunError(f"--dask {address}: the cluster was lost ({type(error).__name__})") from error


def _check_workers(client: Client, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
    except TimeoutError as error:
        raise RunError(f"--dask {address}: no workers within {WORKERS_SECONDS} seconds") from error
    here = version("amsgrad-exp")
    for worker, there in client.run(version, "amsgrad-exp", on_error="return").items():
        if there != here:
            known = there if isinstance(there, str) else "none"
            raise RunError(f"--dask {address}: amsgrad-exp {here} is needed, but {worker} has {known}")
