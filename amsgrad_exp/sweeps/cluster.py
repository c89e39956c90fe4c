"""joblib on a Dask cluster: the only module that imports distributed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import CancelledError
from importlib.metadata import version

import joblib
from distributed import Client, KilledWorker
from distributed.comm.core import CommClosedError
from joblib._dask import DaskDistributedBackend

from amsgrad_exp.errors import ConfigError, RunError

LEAST_WORKERS = 32
WORKERS_SECONDS = 30


class Backend(DaskDistributedBackend):  # type: ignore[misc]
    """joblib's own, but for how many workers it takes a cluster to have at least.

    joblib submits twice as many blocks at once, counted when it starts, so this leaves something to do for workers
    that join later; and for a single one it would not use the cluster at all.
    """

    def effective_n_jobs(self, n_jobs: int) -> int:
        found: int = super().effective_n_jobs(n_jobs)
        return max(LEAST_WORKERS, found)


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Let joblib compute on the workers of a Dask scheduler, those that join later included.

    Raises:
        ConfigError: no scheduler answers.
        RunError: the cluster has no workers, or workers without this version of amsgrad-exp, or was lost.
    """
    for name in ("distributed", "distributed.client", "distributed.core"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout="10s")  # type: ignore[no-untyped-call]
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
                    found = there if isinstance(there, str) else "none"
                    raise RunError(f"--dask {address}: amsgrad-exp {here} is needed, and {worker} has {found}")
            backend = Backend(client=client)
            with joblib.parallel_config(backend=backend):
                yield
    except (CancelledError, CommClosedError, KilledWorker) as error:
        raise RunError(f"--dask {address}: the cluster was lost ({type(error).__name__})") from error
