"""Figures: the only modules that import matplotlib."""

from amsgrad_exp.output.figures.attacks import counterexample
from amsgrad_exp.output.figures.curves import profile, regret_and_bounds, regret_and_iterate
from amsgrad_exp.output.figures.matrix import draw_matrix
from amsgrad_exp.output.figures.planes import Panel, phase_diagram

__all__ = [
    "Panel",
    "counterexample",
    "draw_matrix",
    "phase_diagram",
    "profile",
    "regret_and_bounds",
    "regret_and_iterate",
]
