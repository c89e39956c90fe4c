"""The compiled loop, of one run or of many "lanes" side by side: with `intrinsics`, all that imports numba.

No fast-math and no contraction: the same bits on every processor. Lanes are taken in tiles, each through all steps of a
chunk before the next: its state stays in the processor's first cache, and the compiler makes vectors of it. A single
run is a tile of one, whose state it keeps in registers.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload, register_jitable

from amsgrad_exp import arithmetic
from amsgrad_exp.engines.intrinsics import flush_subnormals, restore_subnormals, stack_tile
from amsgrad_exp.engines.loop_cache import LoopCache
from amsgrad_exp.rules.base import Rule


@functools.cache
def jitable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let compiled loops call a plain function; as it is, for closed over as a dispatcher it would never be cached."""
    plain: Callable[..., Any] = register_jitable(function)
    return plain


for _function in arithmetic.SCALARS:
    jitable(_function)
overload(arithmetic.sqrt)(lambda y: lambda y: np.sqrt(y))
overload(arithmetic.sign)(lambda y: lambda y: np.sign(y))
overload(arithmetic.where)(lambda condition, y, z: lambda condition, y, z: y if condition else z)
overload(arithmetic.maximum)(lambda y, z: lambda y, z: y if y > z else z)
overload(arithmetic.minimum)(lambda y, z: lambda y, z: y if y < z else z)
overload(arithmetic.power)(lambda y, p: lambda y, p: arithmetic.number(arithmetic.real_power(y, p), y))
overload(arithmetic.number)(lambda y, like: _converter(like))


def _converter(dtype: Any) -> Callable[..., Any]:
    return lambda y, like: dtype(y)


def compile_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop for use without the GIL, cached on disk wherever a cache can be kept."""
    compiled: Callable[..., Any] = njit(nogil=True, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # there is no writable place for a cache: compile in every process
        compiled._cache = LoopCache(function)  # type: ignore[attr-defined]
    return compiled


# Tuples of any length are built one element at a time, so that every index is a constant: with a loop over rows, or a
# slice of them, lanes are not vectorized and take five times as long.


@functools.cache
def getter(first: int, count: int) -> Callable[..., Any]:
    """(array, lane) → the tuple of so many rows from ``first`` on."""
    if count == 0:
        return jitable(lambda array, lane: ())
    before, last = getter(first, count - 1), first + count - 1
    return jitable(lambda array, lane: before(array, lane) + (array[last, lane],))


@functools.cache
def setter(first: int, count: int) -> Callable[..., Any]:
    """(array, lane, values): put a tuple into so many rows from ``first`` on."""
    if count == 0:
        return jitable(lambda array, lane, values: None)
    before, last = setter(first, count - 1), count - 1

    def put(array: Any, lane: int, values: Any) -> None:
        before(array, lane, values)
        array[first + last, lane] = values[last]

    return jitable(put)


@functools.cache
def reader(count: int) -> Callable[..., Any]:
    """(array, i, lane) → the tuple of what each of ``count`` sequences has at step i, for a lane or for all."""
    if count == 0:
        return jitable(lambda array, i, lane: ())
    before, last = reader(count - 1), count - 1

    def read(array: Any, i: int, lane: int) -> Any:
        return before(array, i, lane) + (array[last, i] if array.ndim == 2 else array[last, i, lane],)

    return jitable(read)


@functools.cache
def make_loop(
    rule: Rule, loss: Callable[..., Any], slope: Callable[..., Any], *, per_step: int, width: int, varying: bool
) -> Callable[..., None]:
    """Compile the loop of one rule on one kind of problem over tiles of lanes, steps, and the lanes of a tile.

    The loop advances ``state`` (1 + slots, lanes; x, then the rule's) and ``totals`` (2, lanes; R and Σx, float64) in
    place, and logs loss, x and R at position ``first`` and every ``log_every`` steps after it, (points, lanes) each.
    All but totals are of the run's dtype; lanes are a multiple of ``width``. With ``flush`` subnormal numbers are 0.

    Args:
        rule: its update and how many numbers it keeps.
        loss, slope: `Problem.loss` and `Problem.slope`.
        per_step: how many coefficients the problem has: ``sequence`` is (per_step, steps) where lanes share them, else
            (per_step, steps, lanes).
        width: lanes of a tile.
        varying: whether the rule's coefficients change with the step: they are then ``varied``, (coefficients, steps),
            and ``scales`` is (1, steps), both with a last axis of lanes where these do not share them. Else ``scales``
            is (1, steps), and the coefficients are the last of ``constants``: hyper-parameters, low, high, x*,
            coefficients; a column a lane.
    """
    update, hyper, slots = jitable(rule.update), rule.hyper, len(rule.state)
    count = len(hyper._fields)
    low, high, optimum = count, count + 1, count + 2
    kept, loss_row, before_row = 1 + slots, 1 + slots, 2 + slots
    of_rule = rule.number_of_coefficients
    rows, constant_rows = 3 + slots, 3 + count + of_rule
    get_state = getter(0, kept) if rule.sees_x else getter(1, slots)
    put_state, get_hyper = setter(1, slots), getter(0, count)
    get_coefficients, read, read_coefficients = getter(3 + count, of_rule), reader(per_step), reader(of_rule)
    read_scale, loss, slope = reader(1), jitable(loss), jitable(slope)

    def loop(
        state: Any,
        totals: Any,
        sequence: Any,
        scales: Any,
        varied: Any,
        constants: Any,
        first: int,
        log_every: int,
        losses: Any,
        xs: Any,
        total_regrets: Any,
        flush: bool,
    ) -> None:
        control = flush_subnormals()
        if not flush:
            restore_subnormals(control)
        local, k, total = (
            stack_tile(state, rows, width),
            stack_tile(constants, constant_rows, width),
            stack_tile(totals, 2, width),
        )
        for number in range(state.shape[1] // width):
            tile = number * width  # so the compiler knows that no index is negative, and loads whole vectors
            for lane in range(width):
                for row in range(kept):
                    local[row, lane] = state[row, tile + lane]
                for row in range(constant_rows):
                    k[row, lane] = constants[row, tile + lane]
                for row in range(2):
                    total[row, lane] = totals[row, tile + lane]
            begin = 0
            for point in range(len(losses) + 1):
                logging = point < len(losses)
                end = first + point * log_every + 1 if logging else scales.shape[1]
                for i in range(begin, end):
                    # One width of number a loop: a vector takes as many lanes as the widest of its numbers allows.
                    for lane in range(width):
                        p = read(sequence, i, tile + lane)
                        h = hyper(*get_hyper(k, lane))
                        c = read_coefficients(varied, i, tile + lane) if varying else get_coefficients(k, lane)
                        x = local[0, lane]
                        local[loss_row, lane] = loss(x, *p) - loss(k[optimum, lane], *p)
                        local[before_row, lane] = x
                        step_size = h.lr * read_scale(scales, i, tile + lane)[0]
                        move, new = update(slope(x, *p), step_size, c, h, *get_state(local, lane))
                        put_state(local, lane, new)
                        x = x - move
                        x = k[high, lane] if x > k[high, lane] else x
                        x = k[low, lane] if x < k[low, lane] else x
                        local[0, lane] = x
                    for lane in range(width):
                        total[0, lane] += local[loss_row, lane]
                        total[1, lane] += local[before_row, lane]
                begin = end
                if logging:
                    for lane in range(width):
                        losses[point, tile + lane] = local[loss_row, lane]
                        xs[point, tile + lane] = local[before_row, lane]
                        total_regrets[point, tile + lane] = total[0, lane]
            for lane in range(width):
                for row in range(kept):
                    state[row, tile + lane] = local[row, lane]
                for row in range(2):
                    totals[row, tile + lane] = total[row, lane]
        restore_subnormals(control)

    return compile_loop(loop)


@functools.cache
def _writer(count: int) -> Callable[..., Any]:
    """(array, i, lane, values): put a tuple into ``count`` sequences at step i of a lane."""
    if count == 0:
        return jitable(lambda array, i, lane, values: None)
    before, last = _writer(count - 1), count - 1

    def write(array: Any, i: int, lane: int, values: Any) -> None:
        before(array, i, lane, values)
        array[last, i, lane] = values[last]

    return jitable(write)


@functools.cache
def make_coefficients(rule: Rule, *, width: int) -> Callable[..., None]:
    """Compile the working out of a rule's coefficients, and of the step sizes they correct, in double precision.

    From ``schedule`` (steps,), α_t/α of steps from ``start`` on, it fills ``scales`` (1, steps, kinds) and ``varied``
    (coefficients, steps, kinds), and advances ``carry`` (carried, kinds); ``hypers`` is (hyper-parameters, kinds), a
    column for each kind of lane. Kinds are taken in tiles of ``width``, as lanes by `make_loop`'s.
    """
    coefficients, hyper, carried = jitable(rule.coefficients), rule.hyper, len(rule.carry)
    count = len(hyper._fields)
    get_hyper, get_carry, put_carry = getter(0, count), getter(0, carried), setter(0, carried)
    write = _writer(rule.number_of_coefficients)

    def fill(carry: Any, hypers: Any, schedule: Any, start: int, scales: Any, varied: Any) -> None:
        k, local = stack_tile(hypers, count, width), stack_tile(carry, carried, width)
        for number in range(carry.shape[1] // width):
            tile = number * width  # as in `make_loop`
            for kind in range(width):
                for row in range(count):
                    k[row, kind] = hypers[row, tile + kind]
                for row in range(carried):
                    local[row, kind] = carry[row, tile + kind]
            for i in range(len(schedule)):
                for kind in range(width):
                    h = hyper(*get_hyper(k, kind))
                    scale, c, new = coefficients(start + i, schedule[i], h, *get_carry(local, kind))
                    put_carry(local, kind, new)
                    scales[0, i, tile + kind] = scale
                    write(varied, i, tile + kind, c)
            for kind in range(width):
                for row in range(carried):
                    carry[row, tile + kind] = local[row, kind]

    return compile_loop(fill)
