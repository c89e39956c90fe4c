"""Compares, normalizes and describes periodic sequences of integer slopes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from amsgrad_exp.engines.held import Slopes

ONES = ["", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
ONES += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def size(slopes: Slopes) -> tuple[int, int, int, int, bool]:
    """A sort key for the size of a problem: period, number of values, sum of magnitudes, number of changes.

    The number of values comes before the magnitudes, because replacing one slope by 0 makes a problem smaller but not
    simpler. Of two mirror images, the one with x* = −1 is smaller.
    """
    changes = sum(1 for _ in runs(slopes))
    return len(slopes), len(set(slopes)), sum(map(abs, slopes)), changes, sum(slopes) < 0


def runs(slopes: Slopes) -> Iterator[tuple[int, int]]:
    """Each slope with the number of its consecutive repetitions."""
    return ((slope, len(list(repeated))) for slope, repeated in itertools.groupby(slopes))


def negated(slopes: Slopes) -> Slopes:
    """The same problem with left and right exchanged."""
    return tuple(-slope for slope in slopes)


def fair(slopes: Slopes) -> float:
    """|Σs|/Σ|s| in (0, 1]: the part of all movement by which gradient descent approaches x*."""
    return abs(sum(slopes)) / sum(map(abs, slopes))


def reduced(slopes: Slopes) -> Slopes:
    """The slopes divided by their greatest common divisor."""
    divisor = math.gcd(*slopes)
    return tuple(slope // divisor for slope in slopes)


def canonical(slopes: Slopes) -> Slopes:
    """The rotation of a sequence whose steepest slopes come first, reduced to its shortest period."""
    period = len(slopes)
    rank = [(abs(slope), slope) for slope in slopes]
    best, other, length = 0, 1, 0  # largest rotation in linear time: two starts and their common length
    while other < period and length < period:
        one, two = rank[(best + length) % period], rank[(other + length) % period]
        if one == two:
            length += 1
            continue
        if one > two:
            other += length + 1
        else:
            best, other = max(other, best + length + 1), max(other, best + length + 1) + 1
        length = 0
    rotated = slopes[best:] + slopes[:best]
    for divisor in range(1, period // 2 + 1):
        if period % divisor == 0 and rotated[:divisor] * (period // divisor) == rotated:
            return rotated[:divisor]
    return rotated


def written(slopes: Slopes) -> str:
    """The slopes as ``--set slopes=`` takes them: 74,-1x73."""
    return ",".join(f"{slope}x{times}" if times > 1 else str(slope) for slope, times in runs(slopes))


def in_words(slopes: Slopes) -> str:
    """A description: 74 once, −1 seventy-three times, x* = −1."""
    said = ", ".join(f"{_signed(slope)} {_times(times)}" for slope, times in runs(slopes))
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
    return f"{TENS[number // 10]}{'-' if number % 10 else ''}{ONES[number % 10]} times"
