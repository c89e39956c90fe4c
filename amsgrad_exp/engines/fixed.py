"""Measures an optimizer's updates on many problems at once while x is held at a fixed value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.errors import RunFailed
from amsgrad_exp.rules import Rule, hyper_of, rule_of
from amsgrad_exp.rules.settings import OptimizerSettings

Floats = NDArray[np.float64]
Slopes = tuple[int, ...]

TILE = 32  # how many runs the loop advances side by side


class FixedIterates(ABC):
    """Runs of one optimizer on periodic sequences of slopes; after every step, x is reset to its fixed value.

    The losses are linear, so gradients do not depend on x. Updates depend on x only if the rule itself uses x, as
    weight decay does. Everything is float64.
    """

    step = 0  # t, the number of steps taken by every run
    steps_at_once = 2048  # how many steps to take in one call of `advance`, so that it ends within about a second

    @abstractmethod
    def advance(self, stop: int, begin: NDArray[np.int64], end: NDArray[np.int64]) -> Floats:
        """Take the steps up to, not including, ``stop``; return Σu and Σ|u| of each run, (2, runs).

        The sums are over u_t = x_t − x_{t+1} at each run's steps begin ≤ t < end, (runs,), and not finite if x was not.
        A RunFailed, which names the step, is raised if the optimizer raised or x was not finite in any run.
        """


class CompiledFixedIterates(FixedIterates):
    """Runs of one rule with equal settings and a constant step size, starting from a state of shape (slots, runs).

    ``sequences`` has the slopes of one period for each run, ``held`` the fixed iterates. If ``guarded`` is set, a run
    that reaches an unknown step has 0 in the second to last slot of its state; its sums are then NaN.
    """

    def __init__(
        self,
        rule: Rule,
        hyper: Sequence[float],
        carry: Sequence[float],
        state: Floats,
        sequences: Sequence[Slopes],
        held: Floats,
        *,
        step: int = 0,
        guarded: bool = False,
    ) -> None:
        lengths = np.array([len(sequence) for sequence in sequences])
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        # All sequences are concatenated. Each place has the index of the next; the last place has that of the first.
        self._slopes = np.concatenate([np.asarray(sequence, np.float64) for sequence in sequences])
        self._following = np.arange(1, len(self._slopes) + 1)
        self._following[first + lengths - 1] = first
        self.step, self._rule, self._guarded, self._runs = step, rule, guarded, len(sequences)
        self._hyper, self._carry = (np.array([each], np.float64).T.copy() for each in (hyper, carry))
        padding = 0, -self._runs % TILE
        self._x = np.pad(np.asarray(held, np.float64), padding, "edge")
        self._places = np.pad(first + step % lengths, padding, "edge")
        self._state = np.pad(state, ((0, 0), padding), "edge")

    def advance(self, stop: int, begin: NDArray[np.int64], end: NDArray[np.int64]) -> Floats:
        from amsgrad_exp.engines.loops import make_coefficients, make_fixed_loop

        counted = np.pad(np.array([begin, end]), ((0, 0), (0, len(self._x) - self._runs)))
        sums, steps = np.zeros((2, len(self._x))), stop - self.step
        scales, varied = np.empty((1, steps, 1)), np.empty((self._rule.number_of_coefficients, steps, 1))
        fill, loop = make_coefficients(self._rule, width=1), make_fixed_loop(self._rule, width=TILE)
        fill(self._carry, self._hyper, np.ones(steps), self.step, scales, varied)
        coefficients = np.concatenate([scales, varied])[:, :, 0]
        table = self._x, self._places, self._slopes, self._following
        loop(self._state, *table, self._hyper, coefficients, counted - self.step, sums)
        self.step = stop
        if not np.isfinite(sums).all(axis=0).any():
            raise RunFailed(f"x became infinite or NaN by step {stop - 1}, whatever the slopes")
        if self._guarded:
            sums[:, self._state[-2] == 0] = np.nan
        return sums[:, : self._runs]


def compiled_fixed(settings: OptimizerSettings, sequences: Sequence[Slopes], held: Floats) -> FixedIterates:
    """Build runs of a registered optimizer with a fixed iterate."""
    rule = rule_of(settings)
    state = np.repeat(np.array(list(rule.state.values()), np.float64)[:, None], len(sequences), axis=1)
    return CompiledFixedIterates(rule, hyper_of(settings), rule.carry, state, sequences, held)
