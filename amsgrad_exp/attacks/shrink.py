"""Shrinks a problem on which an optimizer fails, by trying all one-step simplifications as a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from amsgrad_exp.attacks.search import Fall, Search
from amsgrad_exp.attacks.sequences import canonical, negated, reduced, runs, size
from amsgrad_exp.engines.held import Slopes

MOST = 4096  # candidates per step


def shrink(search: Search, fall: Fall, on_smaller: Callable[[Fall], object] = lambda fall: None) -> list[Fall]:
    """Replace a fall by its smallest simplification that still falls and is worth confirming, until there is none.

    `size` decides which is smallest. Shrinking stops when the search is over.

    Returns:
        All falls from the first to the last, as `canonical` rotations.
    """
    way = [fall]
    longest = search.found.longest_crossing
    while not search.over():
        smaller: list[Fall] = []
        for measured in search.measured(simpler(fall.slopes)[:MOST]):
            for lane in measured.falls.nonzero()[0].tolist():
                outward, speed = float(measured.outward[lane]), float(measured.speed[lane])
                smaller.append(Fall(measured.sequences[lane], outward, speed, measured.steps))
        smaller = [each for each in smaller if each.crossing <= longest]
        agreed = (each for each in sorted(smaller, key=lambda each: size(each.slopes)) if _agreed(search, each))
        found = next(agreed, None)
        if found is None:
            break
        fall = found
        way.append(fall)
        on_smaller(fall)
    return [replace(each, slopes=canonical(each.slopes)) for each in way]


def _agreed(search: Search, fall: Fall) -> bool:
    sign = search.theory(fall.slopes)
    return sign is None or sign > 0


def simpler(slopes: Slopes) -> list[Slopes]:
    """All smaller sequences that are one step away and have an optimum, the smallest first."""
    shorter = [each for each in _steps(slopes) if len(each) > 1]
    found = dict.fromkeys(other for each in shorter for other in (each, *_balanced(each, sum(slopes))) if sum(other))
    smaller = dict.fromkeys(each for each in map(reduced, found) if size(each) < size(slopes))
    return sorted(smaller, key=size)


def _steps(slopes: Slopes) -> Iterator[Slopes]:
    """Candidates: the sequence, its mirror image, shorter ones, and ones with slopes nearer to 0."""
    yield slopes
    yield negated(slopes)
    period, at = len(slopes), 0
    for slope, times in runs(slopes):
        end = at + times
        for fewer in {1, times // 2, times - 1, times} - {0}:
            yield slopes[: end - fewer] + slopes[end:]
        for nearer in {_towards_zero(slope), int(slope / 2), 0} - {slope}:
            yield (*slopes[:at], nearer, *slopes[at + 1 :])
            yield slopes[:at] + (nearer,) * times + slopes[end:]
            yield tuple(nearer if each == slope else each for each in slopes)
        at = end
    length = period // 2
    while length > 0:
        for at in range(0, period - length + 1, length):
            yield slopes[:at] + slopes[at + length :]
        length //= 2


def _towards_zero(slope: int) -> int:
    return slope - (slope > 0) + (slope < 0)


def _balanced(slopes: Slopes, total: int) -> Iterator[Slopes]:
    """Change the steepest slope so that the sum keeps its value, changes by 1, or has magnitude 1."""
    steepest = max(range(len(slopes)), key=lambda at: abs(slopes[at]))
    sign = 1 if total > 0 else -1
    for wanted in {total, total - sign, total + sign, sign}:
        slope = slopes[steepest] + wanted - sum(slopes)
        yield (*slopes[:steepest], slope, *slopes[steepest + 1 :])
