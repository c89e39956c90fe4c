"""Problems, one a file, and their registry: a new one is its file and its name here.

A problem is a value: its constants, checked. What it is asked for is the coefficients of a range of steps' losses, with
t counted from 0, as a pure function of t (and, for a random problem, of a seed), so that any engine, any chunking and
any resumed run sees the same sequence.
"""

from __future__ import annotations

import importlib

from amsgrad_exp.problems.base import LinearProblem, Problem

__all__ = ["PROBLEMS", "LinearProblem", "Problem"]

NAMES = (
    "online",
    "stochastic",
    "theorem1",
    "theorem2",
    "theorem3",
    "theorem6",
    "adopt-toy",
    "adopt-cycle",
    "adashift-sequential",
    "adashift-stochastic",
    "adabound-theorem1",
    "components",
    "shi-boundary",
    "shi-realizable",
    "shi-nonrealizable",
    "bock-weiss",
    "cycle",
)
PROBLEMS: dict[str, type[Problem]] = {
    name: importlib.import_module(f"{__name__}.{name.replace('-', '_')}").PROBLEM for name in NAMES
}
