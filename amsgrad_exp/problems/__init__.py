"""Problems: sequences of linear losses f_t(x) = slope_t·x on an interval [low, high], with t counted from 0.

A problem is a value: its constants, checked. What it is asked for is the slopes of a range of steps, as a pure
function of t (and, for a random problem, of a seed), so that any engine, any chunking and any resumed run sees
the same sequence.
"""

from __future__ import annotations

from amsgrad_exp.problems.base import Problem
from amsgrad_exp.problems.online import Online
from amsgrad_exp.problems.stochastic import Stochastic
from amsgrad_exp.problems.theorem1 import Theorem1

__all__ = ["PROBLEMS", "Online", "Problem", "Stochastic", "Theorem1"]

PROBLEMS: dict[str, type[Problem]] = {"online": Online, "stochastic": Stochastic, "theorem1": Theorem1}
