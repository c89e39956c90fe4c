"""Reduces a cell's trace to a few points and packs them into bytes."""

from __future__ import annotations

from collections.abc import Mapping

from amsgrad_exp.trace import Trace

POINTS = 48  # at most, per cell
BLOBS = {"step": "<i8", "x": "<f8", "regret": "<f8"}  # the stored columns of `Trace` and their dtypes

Points = Mapping[str, bytes]


def packed(trace: Trace) -> Points:
    """Points of a trace, evenly spaced in log t, as bytes for each column of `BLOBS`."""
    spread = trace.spread(POINTS).columns
    return {name: spread[name].astype(kind).tobytes() for name, kind in BLOBS.items()}
