"""The points of a cell's curve: a few of its trace, in bytes."""

from __future__ import annotations

from collections.abc import Mapping

from amsgrad_exp.trace import Trace

POINTS = 48  # of a cell, at most
BLOBS = {"step": "<i8", "x": "<f8", "regret": "<f8"}  # of `Trace`, and how each is kept

Points = Mapping[str, bytes]


def packed(trace: Trace) -> Points:
    """Some points of a trace, evenly spread over log t, each of `BLOBS` in bytes."""
    spread = trace.spread(POINTS).columns
    return {name: spread[name].astype(kind).tobytes() for name, kind in BLOBS.items()}
