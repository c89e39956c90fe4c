"""`HeldLanes` of an optimizer that has a rule, in a compiled loop. It never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines.held import Floats, HeldLanes, Slopes
from amsgrad_exp.engines.intrinsics import at_step, column, put_column, stack_tile
from amsgrad_exp.engines.lanes import TILES
from amsgrad_exp.engines.loops import compile_loop, jitable, make_coefficients, makes_loops
from amsgrad_exp.errors import RunFailed
from amsgrad_exp.rules import Rule, hyper_of, rule_of
from amsgrad_exp.rules.settings import OptimizerSettings

TILE = TILES[-1]
STEPS_AT_ONCE = 4096


class CompiledHeldLanes(HeldLanes):
    """`HeldLanes` of a registered optimizer, all lanes with the same settings and a constant step size.

    Args:
        settings: of an optimizer that has a rule.
        sequences, held: as of `HeldLanes`.
    """

    def __init__(self, settings: OptimizerSettings, sequences: Sequence[Slopes], held: Floats) -> None:
        super().__init__(sequences, held)
        lengths = np.array([len(sequence) for sequence in sequences])
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        # All sequences one after the other, and for each place in them the next one, after the last the first.
        self._slopes = np.concatenate([np.asarray(sequence, np.float64) for sequence in sequences])
        self._following = np.arange(1, len(self._slopes) + 1)
        self._following[first + lengths - 1] = first
        self._rule, h, carry, states = self._start(settings, sequences)
        self._hyper = np.array([h], np.float64).T.copy()
        self._carry = np.array([carry], np.float64).T.copy()
        padding = -len(self) % TILE
        self._x = np.append(self._held, np.repeat(self._held[-1:], padding))
        places = first + self.step % lengths
        self._places = np.append(places, np.repeat(places[-1:], padding))
        self._state = np.pad(states, ((0, 0), (0, padding)), "edge")

    def _start(
        self, settings: OptimizerSettings, sequences: Sequence[Slopes]
    ) -> tuple[Rule, Sequence[float], Sequence[float], Floats]:
        """The rule, its hyper-parameters, what its coefficients carry and its state, (slots, lanes), at `step`."""
        rule = rule_of(settings)
        start = np.array(list(rule.state.values()), np.float64)
        return rule, hyper_of(settings), rule.carry, np.repeat(start[:, None], len(self), axis=1)

    def advance(self, stop: int, begin: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[Floats, Floats]:
        counted = np.pad(np.array([begin, end]), ((0, 0), (0, len(self._x) - len(self))))
        sums = np.zeros((2, len(self._x)))
        fill, loop = make_coefficients(self._rule, width=1), make_held_loop(self._rule)
        while self.step < stop:
            upto = min(stop, self.step + STEPS_AT_ONCE)
            scales = np.empty((1, upto - self.step, 1))
            varied = np.empty((self._rule.number_of_coefficients, upto - self.step, 1))
            fill(self._carry, self._hyper, np.ones(upto - self.step), self.step, scales, varied)
            coefficients = np.concatenate([scales, varied])[:, :, 0]
            loop(
                self._state,
                self._x,
                self._places,
                self._slopes,
                self._following,
                self._hyper,
                coefficients,
                counted - self.step,
                sums,
            )
            self.step = upto
            if not np.isfinite(sums).all(axis=0).any():
                raise RunFailed(f"x became infinite or NaN by step {upto - 1}, whatever the slopes")
        return sums[0, : len(self)], sums[1, : len(self)]


@makes_loops
def make_held_loop(rule: Rule) -> Callable[..., None]:
    """Compile the loop of one rule over tiles of lanes whose x is held, steps, and the lanes of a tile.

    It advances ``state`` (slots, lanes) and ``places`` (lanes,), the place of each lane's next slope in ``slopes``,
    after which comes ``following[place]``, and adds moves and their magnitudes to ``sums`` (2, lanes), from the
    positions ``counted[0]`` on and up to, not including, ``counted[1]``, (2, lanes). ``x`` is (lanes,), ``hypers``
    (hyper-parameters, 1), ``coefficients`` (1 + coefficients, steps): α_t/α, then the rule's. Lanes are a multiple of
    `TILE`.
    """
    update, hyper, slots = jitable(rule.update), rule.hyper, len(rule.state)
    count = len(hyper._fields)
    seen, passed = (0, 1 + slots) if rule.sees_x else (1, slots)
    rows, of_step = 3 + slots, 1 + rule.number_of_coefficients
    slope_row, width, gives_x = 1 + slots, TILE, rule.gives_x

    def loop(
        state: Any,
        x: Any,
        places: Any,
        slopes: Any,
        following: Any,
        hypers: Any,
        coefficients: Any,
        counted: Any,
        sums: Any,
    ) -> None:
        local, total = stack_tile(state, rows, width), stack_tile(sums, 2, width)
        h = hyper(*column(hypers, 0, count, 0))
        for number in range(state.shape[1] // width):
            first = number * width  # as in `make_loop`
            for lane in range(width):
                local[0, lane] = x[first + lane]
                put_column(local, 1, lane, column(state, 0, slots, first + lane))
                put_column(total, 0, lane, column(sums, 0, 2, first + lane))
            for i in range(coefficients.shape[1]):
                both = at_step(coefficients, of_step, i, 0)
                for lane in range(width):
                    place = places[first + lane]
                    local[slope_row, lane] = slopes[place]
                    places[first + lane] = following[place]
                for lane in range(width):
                    before = column(local, seen, passed, lane)
                    move, new = update(local[slope_row, lane], h.lr * both[0], both[1:], h, *before)
                    put_column(local, 1, lane, new)
                    move = local[0, lane] - move if gives_x else move
                    move = move if counted[0, first + lane] <= i < counted[1, first + lane] else 0.0
                    total[0, lane] += move
                    total[1, lane] += abs(move)
            for lane in range(width):
                put_column(state, 0, first + lane, column(local, 1, slots, lane))
                put_column(sums, 0, first + lane, column(total, 0, 2, lane))

    return compile_loop(loop, width=width)
