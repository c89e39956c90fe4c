"""The values of an axis, as people write them."""

from __future__ import annotations

from typing import Any

import numpy as np

from amsgrad_exp.errors import ConfigError

MAX_CELLS = 10_000_000

FORMS = "start:stop:count, log:start:stop:count, log1m:start:stop:count or a list"


def axis_values(name: str, written: Any) -> tuple[float, ...]:
    """The values of an axis, ascending, each once.

    Args:
        name: of the axis, for messages.
        written: ``start:stop:count``, ``log:start:stop:count`` (evenly spaced in the logarithm),
            ``log1m:start:stop:count`` (in the logarithm of one minus the value, for β near 1), or a list, of numbers or
            as text.

    Raises:
        ConfigError: it is none of these.
    """
    try:
        numbers = _range(name, written) if isinstance(written, str) and ":" in written else _list(written)
        if not np.all(np.isfinite(numbers)):
            raise ValueError
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        quotes = "" if isinstance(written, str | list) else " (in YAML, write it in quotes)"
        raise ConfigError(f"grid: {name} takes {FORMS}, not {written!r}{quotes}") from error
    if not len(numbers):
        raise ConfigError(f"grid: {name} has no values")
    return tuple(np.unique(numbers).tolist())


def _list(written: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([float(value) for value in (written.split(",") if isinstance(written, str) else written)])


def _range(name: str, written: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    *kind, start, stop, count = written.split(":")
    first, last, number = float(start), float(stop), int(count)
    if number < 1 or kind not in ([], ["log"], ["log1m"]):
        raise ValueError
    if number > MAX_CELLS:
        raise ConfigError(f"grid: {name} takes at most {MAX_CELLS:,} values, not {number:,}")
    with np.errstate(all="ignore"):
        if kind == ["log"]:
            return np.geomspace(first, last, number)
        if kind == ["log1m"]:
            return 1 - np.geomspace(1 - first, 1 - last, number)
        return np.linspace(first, last, number)
