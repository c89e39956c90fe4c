"""Generates the sequences of slopes that an attack tries: systematic families, random ones, and neighbours of others.

Every systematic family also contains the mirror images of its sequences: with left and right exchanged and, for one
steep slope against many shallow ones, with the steep slope too small instead of too large. An optimizer that divides by
an older v fails on the mirror image of the problem on which Adam fails (docs/attack.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.attacks.sequences import canonical, negated, reduced
from amsgrad_exp.engines.held import Slopes

ALL_PERIODS_TO = 128
PERIODS_PER_OCTAVE = 8
LARGEST_EXCESS = 16  # largest excess of a steep slope, in periods
NECKLACES = ((5, 3), (7, 2))  # pairs of longest period and largest magnitude
LONGEST_RANDOM = 512


def families(max_period: int) -> list[Slopes]:
    """All systematic sequences with a nonzero sum, without duplicates, ordered by period."""
    every = itertools.chain(necklaces(max_period), steep(max_period), blocks(max_period))
    return sorted(dict.fromkeys(slopes for slopes in every if sum(slopes) != 0), key=len)


def periods(max_period: int) -> list[int]:
    """All periods below `ALL_PERIODS_TO`, then `PERIODS_PER_OCTAVE` per octave."""
    octaves = np.arange(PERIODS_PER_OCTAVE * 32) / PERIODS_PER_OCTAVE
    rare = (ALL_PERIODS_TO * 2**octaves).round().astype(int).tolist()
    return [period for period in [*range(2, ALL_PERIODS_TO), *rare] if period <= max_period]


def excesses(period: int) -> list[int]:
    """Values from 1 to `LARGEST_EXCESS` periods: Fibonacci numbers and tenths of the period."""
    found = {1, 2, *(round(period * tenth / 10) for tenth in range(1, 11))}
    one, two = 2, 3
    while two <= LARGEST_EXCESS * period:
        found.add(two)
        one, two = two, one + two
    return sorted(found - {0})


def steep(max_period: int) -> Iterator[Slopes]:
    """P − 1 + e once and −1 otherwise, so that Σs = e; its mirror image, P − 1 − e once; and the negatives of both."""
    for period in periods(max_period):
        rest = (-1,) * (period - 1)
        for excess in excesses(period):
            found = [(period - 1 + excess, *rest)]
            if excess < period - 1:
                found.append((period - 1 - excess, *rest))
            for slopes in found:
                yield slopes
                yield negated(slopes)


def necklaces(max_period: int) -> Iterator[Slopes]:
    """All short sequences of small integers, without rotations and multiples of others."""
    for longest, largest in NECKLACES:
        for period in range(2, min(longest, max_period) + 1):
            for slopes in itertools.product(range(-largest, largest + 1), repeat=period):
                steepest = max(map(abs, slopes))
                if abs(slopes[0]) == steepest > 0 and reduced(slopes) == slopes == canonical(slopes):
                    yield slopes


def blocks(max_period: int) -> Iterator[Slopes]:
    """Several steep slopes in a row, then shallow ones, then perhaps zeros; the sum is a little above or below 0."""
    for period in periods(max_period):
        if period & 3:
            continue
        for zeros in (0, period // 4, period // 2, period - 4):
            for number in (1, 2, 3, period // 4):
                shallow = period - zeros - number
                if shallow < 1 or (zeros == 0 and number == 1):
                    continue
                for slope in {shallow // number, shallow // number + 1, 2 * shallow // number + 1}:
                    slopes = (slope,) * number + (-1,) * shallow + (0,) * zeros
                    yield slopes
                    yield negated(slopes)
                    yield slopes[::-1]
                    yield negated(slopes[::-1])


def random_sequences(numbers: np.random.Generator, count: int, max_period: int) -> list[Slopes]:
    """Random sequences of two or three values, in blocks or shuffled."""
    found: list[Slopes] = []
    longest = min(LONGEST_RANDOM, max_period)
    while len(found) < count:
        period = int(np.exp(numbers.uniform(np.log(2), np.log(longest + 1))))
        values = numbers.integers(1, 1 + np.exp(numbers.uniform(0, np.log(2 * period + 2), 3)).astype(int))
        values = values * np.array([1, -1, numbers.integers(-1, 2)])
        share = numbers.dirichlet([0.3, 0.6, 0.2 * numbers.integers(0, 2) + 1e-3])
        counts = numbers.multinomial(period, share)
        sequence = np.repeat(values, counts)
        if numbers.random() < 0.5:
            numbers.shuffle(sequence)
        slopes = tuple(sequence.tolist())
        if len(set(slopes)) > 1 and sum(slopes) != 0:
            found.append(slopes if numbers.random() < 0.5 else negated(slopes))
    return found


def neighbours(numbers: np.random.Generator, slopes: Slopes, count: int, max_period: int) -> list[Slopes]:
    """Random variations of a sequence: one slope, all slopes of one value, the order or the length is changed."""
    found = [_changed(numbers, np.array(slopes)) for _ in range(count)]
    return [each for each in found if 1 < len(each) <= max_period and sum(each) != 0]


def _changed(numbers: np.random.Generator, slopes: NDArray[np.int64]) -> Slopes:
    at, other = numbers.integers(0, len(slopes), 2).tolist()
    step = int(numbers.choice([-2, -1, 1, 2]))
    kind = numbers.integers(0, 6)
    if kind == 0:
        slopes[at] += step
    elif kind == 1:
        slopes[slopes == slopes[at]] += step
    elif kind == 2:
        slopes[at] = round(slopes[at] * numbers.choice([0, 0.5, 0.9, 1.1, 2, -1]))
    elif kind == 3:
        slopes[[at, other]] = slopes[[other, at]]
    elif kind == 4:
        slopes = np.delete(slopes, np.arange(at, min(at + int(numbers.integers(1, 4)), len(slopes))))
    else:
        slopes = np.insert(slopes, at, np.repeat(slopes[other], int(numbers.integers(1, 4))))
    return tuple(slopes.tolist())
