"""Registers the problems: to add one, write it in the file of its paper and add its class here.

A problem holds nothing but its constants. It returns the coefficients of the losses of a range of steps, with t
counted from 0, as a pure function of t (and of a seed, for a random problem). So every engine, every division into
chunks and every resumed run sees the same sequence.
"""

from __future__ import annotations

from amsgrad_exp.problems.convergence import BockWeiss, Components, ShiBoundary, ShiNonrealizable, ShiRealizable
from amsgrad_exp.problems.cycle import Cycle
from amsgrad_exp.problems.problem import LinearProblem, Problem
from amsgrad_exp.problems.reddi import Online, Stochastic, Theorem1, Theorem2, Theorem3, Theorem6
from amsgrad_exp.problems.repairs import AdaboundTheorem1, AdashiftSequential, AdashiftStochastic, AdoptCycle, AdoptToy

__all__ = ["PROBLEMS", "Cycle", "LinearProblem", "Online", "Problem", "Stochastic", "Theorem1"]

KINDS: tuple[type[Problem], ...] = (
    *(Online, Stochastic, Theorem1, Theorem2, Theorem3, Theorem6),
    *(AdoptToy, AdoptCycle, AdashiftSequential, AdashiftStochastic, AdaboundTheorem1, Components),
    *(ShiBoundary, ShiRealizable, ShiNonrealizable, BockWeiss, Cycle),
)
PROBLEMS = {str(kind.model_fields["name"].default): kind for kind in KINDS}
