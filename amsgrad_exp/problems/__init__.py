"""Registers the problems, one per file: to add one, write its file and add its name here.

A problem is a value: its validated constants. It returns the coefficients of the losses of a range of steps, with t
counted from 0, as a pure function of t (and of a seed, for a random problem). So every engine, every division into
chunks and every resumed run sees the same sequence.
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
