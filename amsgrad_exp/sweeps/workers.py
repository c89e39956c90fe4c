"""Where a sweep computes: in threads here, or on a Dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import joblib

from amsgrad_exp.errors import ConfigError


@contextlib.contextmanager
def workers(jobs: int = -1, dask: str | None = None) -> Iterator[None]:
    """Where `run_sweep` computes: in threads here, whose loops run without the GIL, or on an existing Dask cluster.

    Args:
        jobs: how many threads; −1 for all cores.
        dask: the address of a Dask scheduler to compute on instead.

    Raises:
        ConfigError: the cluster cannot be reached.
    """
    if dask is None:
        with joblib.parallel_config(backend="threading", n_jobs=jobs):
            yield
        return
    try:
        from amsgrad_exp.sweeps.cluster import connected
    except ImportError as error:
        raise ConfigError("--dask needs the cluster extra of amsgrad-exp: pip install distributed") from error
    with connected(dask):
        yield
