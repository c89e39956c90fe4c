"""Compiles the loops that advance runs with Numba, which only modules of this folder import.

The loops use no fast-math and no contraction, so they give the same bits on every processor. They take runs in tiles,
and advance each tile through all steps of a chunk before the next: the tile's state stays in the first-level cache, and
the compiler vectorizes over its runs. The state of a single run, a tile of one, stays in registers.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering
from numba.extending import register_jitable

from amsgrad_exp.engines.intrinsics import INNER, flush_subnormals, read, restore_subnormals, stack_tile, write
from amsgrad_exp.engines.loop_cache import LoopCache, opened
from amsgrad_exp.rules import Rule

SHORT = 16  # iterations of an inner loop; LLVM unrolls longer loops only after vectorizing them


@functools.cache
def jitable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let compiled loops call a plain function; a Numba dispatcher in its place would prevent caching on disk."""
    plain: Callable[..., Any] = register_jitable(**INNER)(function)
    return plain


class _Lower(Lower):  # type: ignore[misc]
    def post_lower(self) -> None:
        """Mark every jump back to an earlier block, that is, the end of a loop's body."""
        super().post_lower()
        own = self.module.add_metadata(["itself"])  # LLVM identifies a loop by a node that contains itself first
        own.operands = (own, self.module.add_metadata(["llvm.loop.unroll.disable"]))
        places = {block: place for place, block in enumerate(self.function.blocks)}
        for block, place in places.items():
            jump = block.terminator
            if isinstance(jump, ir.Branch) and any(places.get(to, place + 1) <= place for to in jump.operands):
                jump.set_metadata("llvm.loop", own)


@register_pass(mutates_CFG=True, analysis_only=False)
class _LoweringWithoutUnrolling(NativeLowering):  # type: ignore[misc]
    _name = "lowering_without_unrolling"

    @property
    def lowering_class(self) -> type[Lower]:
        return _Lower


class ShortLoopsCompiler(CompilerBase):  # type: ignore[misc]
    """Numba's compiler without loop unrolling.

    LLVM would unroll a loop over a few runs before it vectorizes, and then compute one run after the other, which takes
    two to four times as long for eight runs.
    """

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        lowering = {NativeLowering: _LoweringWithoutUnrolling}
        passes.passes = [(lowering.get(each, each), why) for each, why in passes.passes]
        passes.finalize()
        return [passes]


def compile_loop(function: Callable[..., Any], *, width: int = 1) -> Callable[..., Any]:
    """Compile a loop that releases the GIL, with ``width`` runs in its inner loops; cache it on disk if possible."""
    compiler = {"pipeline_class": ShortLoopsCompiler} if 1 < width <= SHORT else {}
    options = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}
    compiled: Callable[..., Any] = njit(**options, **compiler)(function)
    with contextlib.suppress(RuntimeError):  # without a writable cache directory, every process compiles
        compiled._cache = LoopCache(function)  # type: ignore[attr-defined]
    return compiled


class Loop:
    """A loop that another process may compile; it gets the recipe (function, arguments, options)."""

    def __init__(self, dispatcher: Any, recipe: Any) -> None:
        self.dispatcher = dispatcher
        self._recipe = recipe
        self._seen: set[Any] = set()
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        if (others := opened()) is not None:
            kind = tuple((each.dtype.char, each.ndim) for each in arguments if isinstance(each, np.ndarray))
            if kind not in self._seen:  # Numba takes long to determine types of arguments
                with self._lock:  # other threads that need this loop wait here and then find it
                    signature = tuple(map(self.dispatcher.typeof_pyval, arguments))
                    cache, codegen = self.dispatcher._cache, self.dispatcher.targetctx.codegen()
                    loaded = signature in self.dispatcher.overloads
                    if not loaded and isinstance(cache, LoopCache) and not cache.has(signature, codegen):
                        others.compile(self._recipe, signature)
                self._seen.add(kind)
        return self.dispatcher(*arguments)


def makes_loops(make: Callable[..., Any]) -> Callable[..., Loop]:
    """Make a function that compiles a loop return a `Loop`; equal arguments give the same one."""

    @functools.cache
    @functools.wraps(make)
    def made(*arguments: Any, **options: Any) -> Loop:
        return Loop(make(*arguments, **options), (made, arguments, options))

    return made


@functools.cache
def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """Evaluate a problem's function of x in float32, for a run that keeps x in float64."""
    plain = jitable(function)
    return jitable(lambda x, *p: plain(np.float32(x), *p))


@functools.cache
def not_below(smallest: float, slope: Callable[..., Any]) -> Callable[..., Any]:
    """Replace a problem's gradient by NaN where its magnitude is below ``smallest``."""
    plain = jitable(slope)

    def checked(x: Any, *p: Any) -> Any:
        y = plain(x, *p)
        return y * np.float32(np.nan) if abs(y) < smallest else y

    return jitable(checked)


@makes_loops
def make_loop(
    rule: Rule, loss: Callable[..., Any], slope: Callable[..., Any], *, per_step: int, width: int
) -> Callable[..., None]:
    """Compile the loop of one rule on one kind of problem over tiles of runs, steps, and the runs of a tile.

    The loop advances two arrays in place: ``state`` (1 + slots, runs), which has x and then the rule's state, and
    ``totals`` (2, runs; float64), which has R and Σx. It writes loss, x and R at position ``first`` and every
    ``log_every`` steps after it to ``logged`` (3, points, runs; float64). All other arrays have the runs' dtype. The
    number of runs is a multiple of ``width``. With ``flush``, subnormal numbers count as 0.

    The loop reads ``constants`` (rows of hyper-parameters, low, high and x*; one column per run), ``sequence`` (the
    problem's coefficients), ``scales`` (α_t/α) and ``coefficients`` (the rule's). The last three have shape (numbers,
    steps), or (numbers, steps, runs) if runs differ in them. If all steps share the rule's coefficients of a single
    step, ``stride`` is 0, else 1.
    """
    update, hyper, slots = jitable(rule.update), rule.hyper, len(rule.state)
    count = len(hyper._fields)
    low, high, optimum = count, count + 1, count + 2
    kept, loss_row, before_row = 1 + slots, 1 + slots, 2 + slots
    seen, passed = (0, kept) if rule.uses_iterate else (1, slots)
    of_rule = rule.number_of_coefficients
    rows, constant_rows = 3 + slots, 3 + count
    loss, slope = jitable(loss), jitable(slope)
    returns_iterate = rule.returns_iterate

    def loop(state, totals, sequence, scales, coefficients, stride, constants, first, log_every, logged, flush):
        control = flush_subnormals()
        if not flush:
            restore_subnormals(control)
        local, total = stack_tile(state, rows, width), stack_tile(totals, 2, width)
        k = stack_tile(constants, constant_rows, width)
        for number in range(state.shape[1] // width):
            tile = number * width  # shows the compiler that no index is negative, so that it loads whole vectors
            for run in range(width):
                write(local, 0, read(state, 0, kept, tile + run), run)
                write(k, 0, read(constants, 0, constant_rows, tile + run), run)
                write(total, 0, read(totals, 0, 2, tile + run), run)
            begin = 0
            for point in range(logged.shape[1] + 1):
                logging = point < logged.shape[1]
                end = first + point * log_every + 1 if logging else scales.shape[1]
                for i in range(begin, end):
                    # Each width of numbers has its own loop, since the widest number in a loop limits its vectors.
                    for run in range(width):
                        p = read(sequence, 0, per_step, i, tile + run)
                        h = hyper(*read(k, 0, count, run))
                        c = read(coefficients, 0, of_rule, i * stride, tile + run)
                        x = local[0, run]
                        local[loss_row, run] = loss(x, *p) - loss(k[optimum, run], *p)
                        local[before_row, run] = x
                        step_size = h.lr * read(scales, 0, 1, i, tile + run)[0]
                        move, new = update(slope(x, *p), step_size, c, h, *read(local, seen, passed, run))
                        write(local, 1, new, run)
                        x = move if returns_iterate else x - move
                        x = k[high, run] if x > k[high, run] else x
                        x = k[low, run] if x < k[low, run] else x
                        local[0, run] = x
                    for run in range(width):
                        total[0, run] += local[loss_row, run]
                        total[1, run] += local[before_row, run]
                begin = end
                if logging:
                    for run in range(width):
                        logged[0, point, tile + run] = local[loss_row, run]
                        logged[1, point, tile + run] = local[before_row, run]
                        logged[2, point, tile + run] = total[0, run]
            for run in range(width):
                write(state, 0, read(local, 0, kept, run), tile + run)
                write(totals, 0, read(total, 0, 2, run), tile + run)
        restore_subnormals(control)

    return compile_loop(loop, width=width)


@makes_loops
def make_fixed_loop(rule: Rule, *, width: int) -> Callable[..., None]:
    """Compile the loop of one rule with a fixed iterate over tiles of runs, steps, and the runs of a tile.

    The loop advances ``state`` (slots, runs) and ``places`` (runs,), the place of each run's next slope in ``slopes``;
    ``following`` has the place after each place. It adds the updates and their magnitudes to ``sums`` (2, runs), from
    each run's position ``counted[0]`` up to, not including, ``counted[1]``; ``counted`` is (2, runs). ``x`` is (runs,),
    ``hypers`` (hyper-parameters, 1), and ``coefficients`` (1 + coefficients, steps) has α_t/α, then the rule's.
    """
    update, hyper, slots = jitable(rule.update), rule.hyper, len(rule.state)
    count = len(hyper._fields)
    seen, passed = (0, 1 + slots) if rule.uses_iterate else (1, slots)
    rows, of_step = 3 + slots, 1 + rule.number_of_coefficients
    slope_row, returns_iterate = 1 + slots, rule.returns_iterate

    def loop(state, x, places, slopes, following, hypers, coefficients, counted, sums):
        local, total = stack_tile(state, rows, width), stack_tile(sums, 2, width)
        h = hyper(*read(hypers, 0, count, 0))
        for number in range(state.shape[1] // width):
            first = number * width  # as in `make_loop`
            for run in range(width):
                local[0, run] = x[first + run]
                write(local, 1, read(state, 0, slots, first + run), run)
                write(total, 0, read(sums, 0, 2, first + run), run)
            for i in range(coefficients.shape[1]):
                both = read(coefficients, 0, of_step, i, 0)
                for run in range(width):
                    place = places[first + run]
                    local[slope_row, run] = slopes[place]
                    places[first + run] = following[place]
                for run in range(width):
                    before = read(local, seen, passed, run)
                    move, new = update(local[slope_row, run], h.lr * both[0], both[1:], h, *before)
                    write(local, 1, new, run)
                    move = local[0, run] - move if returns_iterate else move
                    move = move if counted[0, first + run] <= i < counted[1, first + run] else 0.0
                    total[0, run] += move
                    total[1, run] += abs(move)
            for run in range(width):
                write(state, 0, read(local, 1, slots, run), first + run)
                write(sums, 0, read(total, 0, 2, run), first + run)

    return compile_loop(loop, width=width)


@makes_loops
def make_coefficients(rule: Rule, *, width: int) -> Callable[..., None]:
    """Compile the loop that computes a rule's coefficients and corrected step sizes in double precision.

    From ``schedule`` (steps,), which has α_t/α from step ``start`` on, the loop fills ``scales`` (1, steps, kinds) and
    ``varied`` (coefficients, steps, kinds), and advances ``carry`` (carried, kinds). ``hypers`` is (hyper-parameters,
    kinds), with one column for each kind of run. Kinds are computed in tiles of ``width``.
    """
    coefficients, hyper, carried = jitable(rule.coefficients), rule.hyper, len(rule.carry)
    count = len(hyper._fields)

    def fill(carry, hypers, schedule, start, scales, varied):
        k, local = stack_tile(hypers, count, width), stack_tile(carry, carried, width)
        for number in range(carry.shape[1] // width):
            tile = number * width  # as in `make_loop`
            for kind in range(width):
                write(k, 0, read(hypers, 0, count, tile + kind), kind)
                write(local, 0, read(carry, 0, carried, tile + kind), kind)
            for i in range(len(schedule)):
                for kind in range(width):
                    h = hyper(*read(k, 0, count, kind))
                    scale, c, new = coefficients(start + i, schedule[i], h, *read(local, 0, carried, kind))
                    write(local, 0, new, kind)
                    scales[0, i, tile + kind] = scale
                    write(varied, 0, c, i, tile + kind)
            for kind in range(width):
                write(carry, 0, read(local, 0, carried, kind), tile + kind)

    return compile_loop(fill, width=width)


@functools.cache
def make_terms(rule: Rule, slope: Callable[..., Any], *, per_step: int) -> Callable[..., Any]:
    """Compile the loop that sums the terms of a regret bound along one run of a rule with a mean.

    The loop's arguments are t; the tuple (x, the rule's state, its carried values, the sums) before step t; h,
    (low, high) and x*; and, for the steps from t on, the problem's coefficients (per_step, steps) and α_t/α (steps,).
    It takes these steps and returns the tuple after them. At position ``first``, at every ``log_every`` steps after it,
    and at position ``last``, it fills a row of ``logged`` (points, 3) with the terms of `bounds.Bound`: end, distance,
    moves. All numbers are doubles.

    The sums are: distance and moves over all steps except the last one; distance, moves and ρ = β1t/(1 − β1t) of the
    last step, which can only be added when the next step's ρ is known; and ρ_1·m_0·(x_1 − x*). All are 0 at first.
    """
    if rule.mean is None:
        raise ValueError("a rule without a mean has no regret bound")
    update, coefficients, mean = jitable(rule.update), jitable(rule.coefficients), jitable(rule.mean.of)
    slope, uses_iterate = jitable(slope), rule.uses_iterate

    def loop(t, standing, h, interval, optimum, sequence, schedule, first, log_every, last, logged):
        x, state, carry, (distance, moves, last_distance, last_moves, ratio, begun) = standing
        low, high = interval
        row = 0
        for i in range(len(schedule)):
            scale, c, carry = coefficients(t + i, schedule[i], h, *carry)
            g = slope(x, *read(sequence, 0, per_step, i, 0))
            before = mean(0.0, c, h, *state)[0]
            if uses_iterate:
                move, state = update(g, h.lr * scale, c, h, x, *state)
            else:
                move, state = update(g, h.lr * scale, c, h, *state)
            m, beta1 = mean(g, c, h, *state)
            now = beta1 / (1.0 - beta1)
            if t + i == 0:
                begun, ratio = now * before * (x - optimum), now
            weight = 1.0 + (ratio - now)
            distance, moves = distance + weight * last_distance, moves + (0.5 * weight + now) * last_moves
            ratio = now
            free = x - move
            after = high if free > high else free
            after = low if after < low else after
            off, off_after = x - optimum, after - optimum
            # (x − after)/move is exactly 1 unless x was clamped; computing it would add x's rounding to a small move.
            part = 1.0 if after == free else (x - after) / move
            last_distance, last_moves = m * part * (off + off_after) * 0.5, move * m
            if i == first + row * log_every or i == last:
                logged[row, 0] = ratio * m * off - begun
                logged[row, 1] = distance + last_distance
                logged[row, 2] = moves + (0.5 + ratio) * last_moves
                row += 1
            x = after
        return x, state, carry, (distance, moves, last_distance, last_moves, ratio, begun)

    return compile_loop(loop)
