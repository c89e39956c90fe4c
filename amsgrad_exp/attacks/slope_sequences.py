"""Generates, compares, simplifies and describes periodic sequences of integer slopes, which are the problems to try.

Every systematic family also contains the mirror image of each sequence: all signs are changed, and a single steep slope
is too small instead of too large to outweigh the shallow ones. An optimizer that divides by an older v fails on the
mirror image of the problem on which Adam fails (docs/attack.md).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.engines.fixed import Slopes

ALL_PERIODS_TO = 128
PERIODS_PER_OCTAVE = 8
LARGEST_EXCESS = 16  # largest excess of a steep slope, in periods
NECKLACES = ((5, 3), (7, 2))  # pairs of longest period and largest magnitude
LONGEST_RANDOM = 512

ONES = ["", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
ONES += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def size(slopes: Slopes) -> tuple[int, int, int, int, bool]:
    """Return a sort key for the size of a problem: period, number of values, sum of magnitudes, number of changes.

    The number of values comes before the magnitudes, because replacing one slope by 0 makes a problem smaller but not
    simpler. Of two mirror images, the one with x* = −1 is smaller.
    """
    changes = sum(1 for _ in repeats(slopes))
    return len(slopes), len(set(slopes)), sum(map(abs, slopes)), changes, sum(slopes) < 0


def repeats(slopes: Slopes) -> Iterator[tuple[int, int]]:
    """Yield each slope with the number of its consecutive repetitions."""
    return ((slope, len(list(repeated))) for slope, repeated in itertools.groupby(slopes))


def negated(slopes: Slopes) -> Slopes:
    """Return the same problem with left and right exchanged."""
    return tuple(-slope for slope in slopes)


def reduced(slopes: Slopes) -> Slopes:
    """Divide the slopes by their greatest common divisor."""
    divisor = math.gcd(*slopes)
    return tuple(slope // divisor for slope in slopes)


def canonical(slopes: Slopes) -> Slopes:
    """Reduce a sequence to its shortest period, and rotate it so that its steepest slopes come first."""
    period, rank = len(slopes), [(abs(slope), slope) for slope in slopes]
    steepest = max(rank)
    starts = [at for at in range(period) if rank[at] == steepest != rank[at - 1]] or [0]
    best = max(starts, key=lambda at: rank[at:] + rank[:at])
    rotated = slopes[best:] + slopes[:best]
    for divisor in range(1, period // 2 + 1):
        if period % divisor == 0 and rotated[:divisor] * (period // divisor) == rotated:
            return rotated[:divisor]
    return rotated


def in_words(slopes: Slopes) -> str:
    """Describe the slopes: 74 once, −1 seventy-three times, x* = −1."""
    said = ", ".join(f"{_signed(slope)} {_times(times)}" for slope, times in repeats(slopes))
    return f"{said}, x* = {_signed(-1 if sum(slopes) > 0 else 1)}"


def _signed(number: int) -> str:
    return f"−{-number:,}" if number < 0 else f"{number:,}"


def _times(number: int) -> str:
    if number <= 2:
        return ("once", "twice")[number - 1]
    if number >= 100:
        return f"for {number:,} steps"
    if number < 20:
        return f"{ONES[number]} times"
    return f"{TENS[number // 10]}{f'-{ONES[number % 10]}' if number % 10 else ''} times"


def families(max_period: int) -> list[Slopes]:
    """Return all systematic sequences with a nonzero sum, without duplicates, ordered by period."""
    every = itertools.chain(necklaces(max_period), steep(max_period), blocks(max_period))
    return sorted(dict.fromkeys(slopes for slopes in every if sum(slopes) != 0), key=len)


def _periods(max_period: int) -> list[int]:
    """Return all periods below `ALL_PERIODS_TO`, then `PERIODS_PER_OCTAVE` per octave."""
    octaves = np.arange(PERIODS_PER_OCTAVE * 32) / PERIODS_PER_OCTAVE
    rare = (ALL_PERIODS_TO * 2**octaves).round().astype(int).tolist()
    return [period for period in [*range(2, ALL_PERIODS_TO), *rare] if period <= max_period]


def _excesses(period: int) -> list[int]:
    """Return excesses from 1 to `LARGEST_EXCESS` periods: Fibonacci numbers and tenths of the period."""
    found = {1, 2, *(round(period * tenth / 10) for tenth in range(1, 11))}
    one, two = 2, 3
    while two <= LARGEST_EXCESS * period:
        found.add(two)
        one, two = two, one + two
    return sorted(found - {0})


def steep(max_period: int) -> Iterator[Slopes]:
    """Yield P − 1 + e once and −1 otherwise, so that Σs = e; its mirror image, P − 1 − e once; and both negated."""
    for period in _periods(max_period):
        rest = (-1,) * (period - 1)
        for excess in _excesses(period):
            for steepest in (period - 1 + excess, *((period - 1 - excess,) if excess < period - 1 else ())):
                yield (steepest, *rest)
                yield negated((steepest, *rest))


def necklaces(max_period: int) -> Iterator[Slopes]:
    """Yield all short sequences of small integers, without rotations and multiples of others."""
    for longest, largest in NECKLACES:
        for period in range(2, min(longest, max_period) + 1):
            for slopes in itertools.product(range(-largest, largest + 1), repeat=period):
                steepest = max(map(abs, slopes))
                if abs(slopes[0]) == steepest > 0 and reduced(slopes) == slopes == canonical(slopes):
                    yield slopes


def blocks(max_period: int) -> Iterator[Slopes]:
    """Yield a row of steep slopes, then shallow ones, then perhaps zeros, with a sum a little above or below 0."""
    for period in _periods(max_period):
        if period & 3:
            continue
        for zeros, number in itertools.product((0, period // 4, period // 2, period - 4), (1, 2, 3, period // 4)):
            shallow = period - zeros - number
            if shallow < 1 or (zeros == 0 and number == 1):
                continue
            for slope in {shallow // number, shallow // number + 1, 2 * shallow // number + 1}:
                slopes = (slope,) * number + (-1,) * shallow + (0,) * zeros
                yield from (slopes, negated(slopes), slopes[::-1], negated(slopes[::-1]))


def random_sequences(numbers: np.random.Generator, count: int, max_period: int) -> list[Slopes]:
    """Draw random sequences of two or three values, in blocks or shuffled."""
    found: list[Slopes] = []
    longest = min(LONGEST_RANDOM, max_period)
    while len(found) < count:
        period = int(np.exp(numbers.uniform(np.log(2), np.log(longest + 1))))
        values = numbers.integers(1, 1 + np.exp(numbers.uniform(0, np.log(2 * period + 2), 3)).astype(int))
        values = values * np.array([1, -1, numbers.integers(-1, 2)])
        share = numbers.dirichlet([0.3, 0.6, 0.2 * numbers.integers(0, 2) + 1e-3])
        sequence = np.repeat(values, numbers.multinomial(period, share))
        if numbers.random() < 0.5:
            numbers.shuffle(sequence)
        slopes = tuple(sequence.tolist())
        if len(set(slopes)) > 1 and sum(slopes) != 0:
            found.append(slopes if numbers.random() < 0.5 else negated(slopes))
    return found


def neighbours(numbers: np.random.Generator, slopes: Slopes, count: int, max_period: int) -> list[Slopes]:
    """Vary a sequence at random: change one slope, all slopes of one value, the order or the length."""
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


def simpler(slopes: Slopes) -> list[Slopes]:
    """Return all smaller sequences that are one simplification away and have an optimum, the smallest first."""
    shorter = [each for each in _steps(slopes) if len(each) > 1]
    found = dict.fromkeys(other for each in shorter for other in (each, *_balanced(each, sum(slopes))) if sum(other))
    smaller = dict.fromkeys(each for each in map(reduced, found) if size(each) < size(slopes))
    return sorted(smaller, key=size)


def _steps(slopes: Slopes) -> Iterator[Slopes]:
    """Yield candidates: the sequence, its mirror image, shorter sequences, and ones with slopes nearer to 0."""
    yield slopes
    yield negated(slopes)
    period, at = len(slopes), 0
    for slope, times in repeats(slopes):
        end = at + times
        for fewer in {1, times // 2, times - 1, times} - {0}:
            yield slopes[: end - fewer] + slopes[end:]
        for nearer in {slope - (slope > 0) + (slope < 0), int(slope / 2), 0} - {slope}:
            yield (*slopes[:at], nearer, *slopes[at + 1 :])
            yield slopes[:at] + (nearer,) * times + slopes[end:]
            yield tuple(nearer if each == slope else each for each in slopes)
        at = end
    length = period // 2
    while length > 0:
        for at in range(0, period - length + 1, length):
            yield slopes[:at] + slopes[at + length :]
        length //= 2


def _balanced(slopes: Slopes, total: int) -> Iterator[Slopes]:
    """Change the steepest slope so that the sum keeps its value, changes by 1, or has magnitude 1."""
    steepest = max(range(len(slopes)), key=lambda at: abs(slopes[at]))
    sign = 1 if total > 0 else -1
    for wanted in {total, total - sign, total + sign, sign}:
        slope = slopes[steepest] + wanted - sum(slopes)
        yield (*slopes[:steepest], slope, *slopes[steepest + 1 :])
