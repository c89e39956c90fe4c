"""How the values of an axis are spaced: evenly, or evenly in a logarithm."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MARGIN = 0.04  # of an axis, on either side of what is drawn

# How the values of an axis may be spaced evenly: as they are, in the logarithm, in the logarithm of 1 − value.
SPACINGS: dict[str, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]] = {
    "linear": (np.positive, np.positive),
    "log": (np.log10, lambda height: 10.0**height),
    "log1m": (lambda value: -np.log10(np.maximum(1 - value, 1e-300)), lambda height: 1 - 10.0**-height),
}


def spacing(values: Sequence[float]) -> str:
    """How ascending values are evenly spaced: a key of `SPACINGS`; "linear" if in none of its ways."""
    numbers = np.asarray(values, float)
    if len(numbers) <= 2:
        return "linear"
    if np.all(numbers > 0) and _even(np.log(numbers)):
        return "log"
    if np.all(numbers < 1) and not _even(numbers) and _even(np.log(1 - numbers)):
        return "log1m"
    return "linear"


def _even(numbers: Floats) -> bool:
    gaps = np.diff(numbers)
    return bool(np.allclose(gaps, gaps[0], rtol=1e-6, atol=0))


def edges(values: Sequence[float]) -> Floats:
    """Where the cells of n ascending values begin and end, halfway between values as spaced; float64 (n + 1,)."""
    forward, inverse = SPACINGS[spacing(values)]
    at = forward(np.asarray(values, float))
    gaps = np.diff(at) if len(at) > 1 else np.array([0.1 * abs(at[0]) or 0.1])
    return inverse(np.concatenate([at[:1] - gaps[0] / 2, (at[1:] + at[:-1]) / 2, at[-1:] + gaps[-1] / 2]))


def extent(values: Floats, *, log: bool = False, margin: float = MARGIN) -> tuple[float, float] | None:
    """The ends of an axis that shows values with a margin; None if it can show none of them."""
    shown = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not len(shown):
        return None
    low, high = float(shown.min()), float(shown.max())
    if log:
        factor = (high / low) ** margin if low < high else 2.0
        return low / factor, high * factor
    beyond = margin * (high - low) or 1.0
    return low - beyond, high + beyond


def far_apart(values: Floats) -> bool:
    """Whether a logarithmic axis suits the values: all are positive, and the largest is over 10 times the least."""
    finite = values[np.isfinite(values)]
    return bool(len(finite) and finite.min() > 0 and finite.max() > 10 * finite.min())


def regret_extent(values: Floats, *, log: bool) -> tuple[float, float] | None:
    """`extent` of regrets; a linear axis shows 0, and begins there if none is negative."""
    ends = extent(values if log else np.append(values, 0.0), log=log)
    return (0.0, ends[1]) if ends and not log and not np.any(values[np.isfinite(values)] < 0) else ends
