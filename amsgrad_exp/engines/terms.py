"""Compiles the loop that sums the terms of a regret bound along one run, in double precision."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from amsgrad_exp.engines.intrinsics import at_step
from amsgrad_exp.engines.loops import compile_loop, jitable
from amsgrad_exp.rules import Rule


@functools.cache
def make_terms(rule: Rule, slope: Callable[..., Any], *, per_step: int) -> Callable[..., Any]:
    """Compile the loop for a rule with a mean, on one kind of problem.

    The loop's arguments are t; the tuple (x, the rule's state, its carried values, the sums) before step t; h,
    (low, high) and x*; and, for the steps from t on, the problem's coefficients (per_step, steps) and α_t/α (steps,).
    It takes these steps and returns the tuple after them. At position ``first``, every ``log_every`` steps after it,
    and at position ``last``, it fills a row of ``logged``, (points, 3), with the terms of `bounds.Bound`: end,
    distance, moves. All numbers are doubles.

    The sums are: distance and moves over all steps except the last one; distance, moves and ρ = β1t/(1 − β1t) of the
    last step, which cannot be added before the next step's ρ is known; and ρ_1·m_0·(x_1 − x*). All are 0 at first.
    """
    if rule.mean is None:
        raise ValueError("a rule without a mean has no regret bound")
    update, coefficients, mean = jitable(rule.update), jitable(rule.coefficients), jitable(rule.mean.of)
    slope, sees_x = jitable(slope), rule.sees_x

    def loop(
        t: int,
        standing: Any,
        h: Any,
        interval: Any,
        optimum: float,
        sequence: Any,
        schedule: Any,
        first: int,
        log_every: int,
        last: int,
        logged: Any,
    ) -> Any:
        x, state, carry, (distance, moves, last_distance, last_moves, ratio, begun) = standing
        low, high = interval
        row = 0
        for i in range(len(schedule)):
            scale, c, carry = coefficients(t + i, schedule[i], h, *carry)
            g = slope(x, *at_step(sequence, per_step, i, 0))
            before = mean(0.0, c, h, *state)[0]
            if sees_x:
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
