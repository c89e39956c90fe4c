"""Registers the problems: to add one, write it in the file of its paper and add its class here.

A problem is a value: its validated constants. It returns the coefficients of the losses of a range of steps, with t
counted from 0, as a pure function of t (and of a seed, for a random problem). So every engine, every division into
chunks and every resumed run sees the same sequence.
"""

from __future__ import annotations

from amsgrad_exp.problems.adabound import AdaboundTheorem1
from amsgrad_exp.problems.adashift import AdashiftSequential, AdashiftStochastic
from amsgrad_exp.problems.adopt import AdoptCycle, AdoptToy
from amsgrad_exp.problems.base import LinearProblem, Problem
from amsgrad_exp.problems.bock_weiss import BockWeiss
from amsgrad_exp.problems.components import Components
from amsgrad_exp.problems.cycle import Cycle
from amsgrad_exp.problems.reddi import Online, Stochastic, Theorem1, Theorem2, Theorem3, Theorem6
from amsgrad_exp.problems.shi import ShiBoundary, ShiNonrealizable, ShiRealizable

__all__ = ["PROBLEMS", "LinearProblem", "Problem"]

KINDS: tuple[type[Problem], ...] = (
    *(Online, Stochastic, Theorem1, Theorem2, Theorem3, Theorem6),
    *(AdoptToy, AdoptCycle, AdashiftSequential, AdashiftStochastic, AdaboundTheorem1, Components),
    *(ShiBoundary, ShiRealizable, ShiNonrealizable, BockWeiss, Cycle),
)
PROBLEMS = {str(kind.model_fields["name"].default): kind for kind in KINDS}
