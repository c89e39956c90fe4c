"""The compiled loop, of one run or of many "lanes" side by side: with `intrinsics`, all that imports numba.

No fast-math and no contraction: the same bits on every processor. Lanes are taken in tiles, each through all steps of a
chunk before the next: its state stays in the processor's first cache, and the compiler makes vectors of it. A single
run is a tile of one, whose state it keeps in registers.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numba.extending import register_jitable

from amsgrad_exp.engines.compiling import opened
from amsgrad_exp.engines.intrinsics import (
    at_step,
    column,
    flush_subnormals,
    put_at_step,
    put_column,
    restore_subnormals,
    stack_tile,
)
from amsgrad_exp.engines.loop_cache import LoopCache
from amsgrad_exp.engines.scalars import INNER
from amsgrad_exp.engines.short_loops import ShortLoopsCompiler
from amsgrad_exp.rules import Rule

SHORT = 16  # turns of an inner loop: LLVM unrolls longer ones only after it has made vectors of them


@functools.cache
def jitable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let compiled loops call a plain function; as it is, for closed over as a dispatcher it would never be cached."""
    plain: Callable[..., Any] = register_jitable(**INNER)(function)
    return plain


def compile_loop(function: Callable[..., Any], *, width: int = 1) -> Callable[..., Any]:
    """Compile a loop for use without the GIL, cached on disk wherever a cache can be kept.

    Args:
        function: the loop.
        width: over how many lanes its inner loops are, which become vectors.
    """
    compiler = {"pipeline_class": ShortLoopsCompiler} if 1 < width <= SHORT else {}
    options = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}
    compiled: Callable[..., Any] = njit(**options, **compiler)(function)
    with contextlib.suppress(RuntimeError):  # there is no writable place for a cache: compile in every process
        compiled._cache = LoopCache(function)  # type: ignore[attr-defined]
    return compiled


class Loop:
    """A compiled loop, which may be compiled in another process.

    Args:
        dispatcher: of `compile_loop`.
        recipe: (function, arguments, keyword arguments), a call that makes this.
    """

    def __init__(self, dispatcher: Any, recipe: Any) -> None:
        self.dispatcher = dispatcher
        self._recipe = recipe
        self._seen: set[Any] = set()
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        if (others := opened()) is not None:
            kind = tuple((each.dtype.char, each.ndim) for each in arguments if isinstance(each, np.ndarray))
            if kind not in self._seen:  # Numba takes long to say of which types arguments are
                with self._lock:  # whoever else needs it waits, and then finds it
                    signature = tuple(map(self.dispatcher.typeof_pyval, arguments))
                    if signature not in self.dispatcher.overloads and self._missing(signature):
                        others.compile(self._recipe, signature)
                self._seen.add(kind)
        return self.dispatcher(*arguments)

    def _missing(self, signature: Any) -> bool:
        """Whether the cache is without it, and could keep it."""
        cache = self.dispatcher._cache
        return isinstance(cache, LoopCache) and not cache.has(signature, self.dispatcher.targetctx.codegen())


def makes_loops(make: Callable[..., Any]) -> Callable[..., Loop]:
    """Let a function that compiles a loop make a `Loop` of it, the same one for the same arguments."""

    @functools.cache
    @functools.wraps(make)
    def made(*arguments: Any, **options: Any) -> Loop:
        return Loop(make(*arguments, **options), (made, arguments, options))

    return made


@functools.cache
def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """A problem's function of x in float32, where x is kept in float64; coefficients are float32."""
    plain = jitable(function)
    return jitable(lambda x, *p: plain(np.float32(x), *p))


@functools.cache
def not_below(smallest: float, slope: Callable[..., Any]) -> Callable[..., Any]:
    """A problem's slope, or NaN instead of one that is nearer to 0."""
    plain = jitable(slope)

    def checked(x: Any, *p: Any) -> Any:
        y = plain(x, *p)
        return y * np.float32(np.nan) if abs(y) < smallest else y

    return jitable(checked)


@makes_loops
def make_loop(
    rule: Rule, loss: Callable[..., Any], slope: Callable[..., Any], *, per_step: int, width: int
) -> Callable[..., None]:
    """Compile the loop of one rule on one kind of problem over tiles of lanes, steps, and the lanes of a tile.

    The loop advances ``state`` (1 + slots, lanes; x, then the rule's) and ``totals`` (2, lanes; R and Σx, float64) in
    place, and logs loss, x and R at position ``first`` and every ``log_every`` steps after it, (points, lanes) each.
    All but totals are of the run's dtype; lanes are a multiple of ``width``. With ``flush`` subnormal numbers are 0.

    What it reads: ``constants``, (hyper-parameters, low, high and x*; lanes); ``sequence``, the problem's coefficients;
    ``scales``, α_t/α; ``coefficients``, the rule's. The last three are (numbers, steps) where lanes share them, else
    (numbers, steps, lanes). The rule's may have a single step, for all: ``stride`` is then 0, else 1.

    Args:
        rule: its update and how many numbers it keeps.
        loss, slope: `Problem.loss` and `Problem.slope`.
        per_step: how many coefficients the problem has.
        width: lanes of a tile.
    """
    update, hyper, slots = jitable(rule.update), rule.hyper, len(rule.state)
    count = len(hyper._fields)
    low, high, optimum = count, count + 1, count + 2
    kept, loss_row, before_row = 1 + slots, 1 + slots, 2 + slots
    seen, passed = (0, kept) if rule.sees_x else (1, slots)
    of_rule = rule.number_of_coefficients
    rows, constant_rows = 3 + slots, 3 + count
    loss, slope = jitable(loss), jitable(slope)
    gives_x = rule.gives_x

    def loop(
        state: Any,
        totals: Any,
        sequence: Any,
        scales: Any,
        coefficients: Any,
        stride: int,
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
                put_column(local, 0, lane, column(state, 0, kept, tile + lane))
                put_column(k, 0, lane, column(constants, 0, constant_rows, tile + lane))
                put_column(total, 0, lane, column(totals, 0, 2, tile + lane))
            begin = 0
            for point in range(len(losses) + 1):
                logging = point < len(losses)
                end = first + point * log_every + 1 if logging else scales.shape[1]
                for i in range(begin, end):
                    # One width of number a loop: a vector takes as many lanes as the widest of its numbers allows.
                    for lane in range(width):
                        p = at_step(sequence, per_step, i, tile + lane)
                        h = hyper(*column(k, 0, count, lane))
                        c = at_step(coefficients, of_rule, i * stride, tile + lane)
                        x = local[0, lane]
                        local[loss_row, lane] = loss(x, *p) - loss(k[optimum, lane], *p)
                        local[before_row, lane] = x
                        step_size = h.lr * at_step(scales, 1, i, tile + lane)[0]
                        move, new = update(slope(x, *p), step_size, c, h, *column(local, seen, passed, lane))
                        put_column(local, 1, lane, new)
                        x = move if gives_x else x - move
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
                put_column(state, 0, tile + lane, column(local, 0, kept, lane))
                put_column(totals, 0, tile + lane, column(total, 0, 2, lane))
        restore_subnormals(control)

    return compile_loop(loop, width=width)


@makes_loops
def make_coefficients(rule: Rule, *, width: int) -> Callable[..., None]:
    """Compile the working out of a rule's coefficients, and of the step sizes they correct, in double precision.

    From ``schedule`` (steps,), α_t/α of steps from ``start`` on, it fills ``scales`` (1, steps, kinds) and ``varied``
    (coefficients, steps, kinds), and advances ``carry`` (carried, kinds); ``hypers`` is (hyper-parameters, kinds), a
    column for each kind of lane. Kinds are taken in tiles of ``width``, as lanes by `make_loop`'s.
    """
    coefficients, hyper, carried = jitable(rule.coefficients), rule.hyper, len(rule.carry)
    count = len(hyper._fields)

    def fill(carry: Any, hypers: Any, schedule: Any, start: int, scales: Any, varied: Any) -> None:
        k, local = stack_tile(hypers, count, width), stack_tile(carry, carried, width)
        for number in range(carry.shape[1] // width):
            tile = number * width  # as in `make_loop`
            for kind in range(width):
                put_column(k, 0, kind, column(hypers, 0, count, tile + kind))
                put_column(local, 0, kind, column(carry, 0, carried, tile + kind))
            for i in range(len(schedule)):
                for kind in range(width):
                    h = hyper(*column(k, 0, count, kind))
                    scale, c, new = coefficients(start + i, schedule[i], h, *column(local, 0, carried, kind))
                    put_column(local, 0, kind, new)
                    scales[0, i, tile + kind] = scale
                    put_at_step(varied, i, tile + kind, c)
            for kind in range(width):
                put_column(carry, 0, tile + kind, column(local, 0, carried, kind))

    return compile_loop(fill, width=width)
