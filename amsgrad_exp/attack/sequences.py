"""Periodic sequences of integer slopes: how large one is, what it is called, which rotation of it is shown."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from amsgrad_exp.engines.held import Slopes

ONES = ["", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
ONES += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def size(slopes: Slopes) -> tuple[int, int, int, int, bool]:
    """What makes a problem small: its period, how many different values, their magnitudes, how often they change.

    Values before magnitudes, for a zero in the middle makes a problem smaller and no simpler. Of two mirror images, the
    one with x* = −1 is the smaller.
    """
    changes = sum(1 for _ in runs(slopes))
    return len(slopes), len(set(slopes)), sum(map(abs, slopes)), changes, sum(slopes) < 0


def runs(slopes: Slopes) -> Iterator[tuple[int, int]]:
    """Each slope with how many times in a row it comes."""
    return ((slope, len(list(repeated))) for slope, repeated in itertools.groupby(slopes))


def negated(slopes: Slopes) -> Slopes:
    """The same problem with left and right exchanged."""
    return tuple(-slope for slope in slopes)


def fair(slopes: Slopes) -> float:
    """|Σs|/Σ|s|: how much of all its movement gradient descent gets nearer to x*, in (0, 1]."""
    return abs(sum(slopes)) / sum(map(abs, slopes))


def reduced(slopes: Slopes) -> Slopes:
    """Divided by the greatest common divisor."""
    divisor = math.gcd(*slopes)
    return tuple(slope // divisor for slope in slopes)


def canonical(slopes: Slopes) -> Slopes:
    """One of all rotations of a sequence, the one whose steepest slopes come first; once, where it repeats itself."""
    period = len(slopes)
    rank = [(abs(slope), slope) for slope in slopes]
    best, other, length = 0, 1, 0  # the largest rotation, in linear time: two starts and how far they are alike
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
    """As ``--set slopes=`` takes them: 74,-1x73."""
    return ",".join(f"{slope}x{times}" if times > 1 else str(slope) for slope, times in runs(slopes))


def in_words(slopes: Slopes) -> str:
    """A line to read: 74 once, −1 seventy-three times, x* = −1."""
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
