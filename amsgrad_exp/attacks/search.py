"""Searches for problems on which an optimizer drifts to the worst end, and shrinks the smallest of them."""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from amsgrad_exp.attacks.slope_sequences import canonical, families, neighbours, random_sequences, simpler, size
from amsgrad_exp.engines.fixed import FixedIterates, Floats, Slopes
from amsgrad_exp.errors import RunFailed
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.watch import UNWATCHED, Watch

MakeBatch = Callable[[Sequence[Slopes], Floats], FixedIterates]
"""A function that makes a batch of runs from sequences of slopes and the fixed iterates."""

LEAST_FALL = 1e-3  # least drift to the worst end; the sign of a smaller one may come from a decaying transient
LEAST_DRIFT = 1e-7  # least magnitude of a drift; the sign of a smaller one may come from rounding
CHANGE, CHANGE_BEFORE = 0.1, 0.3  # most change of a settled drift in the last doubling of T, and in the one before
SETTLED_SHARE = 0.97  # stop when this share of the problems has settled
FIRST_STEPS = 1024  # least number of steps after which the first drift is measured
DOUBLINGS = 4  # T is doubled at most this many times
WINDOW = 4  # the drift is measured over the whole periods within the last T/4 steps

QUICK = 15_000  # largest `Fall.crossing` that the literal engine can confirm in reasonable time
SLOWER = 1.5  # if no fall is that quick, accept up to this many times the quickest
STOP_SECONDS = 0.1  # how often should_stop is called
MOST_CHECKED = 200  # most falls that are checked against theory
LONGER = 256  # most unsettled problems that are run for longer
MORE_DOUBLINGS = 3  # further doublings of T for these problems
MOST_ROUNDS = 8  # most rounds of random problems; if periods are short, few problems of a round are new
MOST_OF_A_ROUND = 4096
DANGEROUS, NEIGHBOURS = 32, 32  # problems of the local search, and neighbours of each
MOST_SIMPLER = 4096  # most simplifications that one step of shrinking tries


@dataclass(frozen=True)
class Fall:
    """A problem on which the iterate drifts to the worst end."""

    slopes: Slopes
    outward: float  # the share of all movement that leads to the worst end, in (0, 1]
    speed: float  # the mean size of an update
    steps: int  # T, the number of steps after which this was measured

    @property
    def crossing(self) -> float:
        """P/outward: the number of steps in which x drifts as far as it moves in total within one period."""
        return len(self.slopes) / self.outward


@dataclass(frozen=True)
class Measured:
    """The measured drift of some problems; arrays are of shape (problems,)."""

    sequences: Sequence[Slopes]
    outward: Floats  # Σu/Σ|u| of the updates u over whole periods, positive towards the worst end, in [−1, 1]
    speed: Floats  # the mean of |u|, the size of an update
    settled: NDArray[np.bool_]  # whether the drift no longer changes with T and is large enough for a reliable sign
    steps: int  # T, the number of steps simulated

    def falls(self) -> list[Fall]:
        return [
            Fall(self.sequences[i], float(self.outward[i]), float(self.speed[i]), self.steps)
            for i in np.flatnonzero(self.settled & (self.outward > 0)).tolist()
        ]


def measure(
    make_batch: MakeBatch,
    sequences: Sequence[Slopes],
    first: int = FIRST_STEPS,
    doublings: int = DOUBLINGS,
    should_stop: Callable[[], bool] = lambda: False,
) -> Measured | None:
    """Measure the drift after T, 2T, 4T, … steps until it has settled, with x fixed at the worst end.

    x is fixed there because an update that depends on x must lead away from the worst end exactly at that end. The
    first T is at least ``first`` and twice the longest period. The result is the last measurement, or None if it was
    stopped before any drift had settled.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    worst = np.sign([sum(sequence) for sequence in sequences]).astype(np.float64)
    batch, done = make_batch(sequences, worst), 0
    while first < 2 * lengths.max():
        first *= 2
    before = np.full((2, len(lengths)), np.nan)
    seen: Measured | None = None
    for doubling in range(doublings + 1):
        steps = first * 2**doubling
        whole = lengths * np.maximum(1, steps // WINDOW // lengths)
        end = steps - steps % lengths  # the end of a period; elsewhere, a vanishing drift would seem to change its sign
        sums = np.zeros((2, len(lengths)))
        while done < steps:
            if should_stop():
                return seen
            done = min(steps, done + batch.steps_at_once)
            sums += batch.advance(done, end - whole, end)
        moved, travelled = sums
        if not travelled.any():
            raise RunFailed(f"x did not move in {steps} steps on any problem")
        with np.errstate(invalid="ignore"):
            outward = -worst * moved / travelled
            settled = (np.abs(outward - before[0]) <= CHANGE * np.abs(outward)) & (
                np.abs(before[0] - before[1]) <= CHANGE_BEFORE * np.abs(before[0])
            )
        settled &= (outward <= -LEAST_DRIFT) | (outward >= LEAST_FALL)
        if settled.any() or doubling == doublings:
            seen = Measured(sequences, np.nan_to_num(outward), travelled / whole, settled, steps)
        if settled.mean() >= SETTLED_SHARE:
            break
        before = np.array([outward, before[0]])
    return seen


@dataclass(frozen=True)
class Limits:
    """The limits of a search."""

    seconds: float | None = None  # wall time after which the search stops, unfinished; None for no limit
    problems: int | None = None  # how many problems to try; None for the target's fixed set, `Target.problems`
    max_period: int = 4096  # the largest period of a problem
    seed: int = 0  # the seed of the random problems


@dataclass(frozen=True)
class Target:
    """An optimizer to attack."""

    settings: OptimizerSettings  # complete
    make_batch: MakeBatch
    at_once: int  # the size of a batch
    first: int  # the first drift is measured after this many steps, which exceed the second moment's memory
    # The drift D on given slopes, positive towards the worst end; None if it is unknown.
    theory: Callable[[Slopes], float | None] = lambda slopes: None
    problems: int | None = None  # how many are tried until one fails; None for all families and no random ones
    max_period: int | None = None  # the largest period of a problem, if it is less than that of the limits
    shared_between: str | None = None  # what its parameters share, as in `engines.shared_between`
    not_compiled: str | None = None  # why its steps cannot be compiled

    def agrees(self, fall: Fall) -> bool:
        sign = self.theory(fall.slopes)
        return sign is None or sign > 0


@dataclass
class Found:
    """The results of a search so far."""

    problems: int = 0  # how many problems were tried
    survives: int = 0
    unsettled: int = 0
    fallen: list[Fall] = field(default_factory=list)
    # The settled problems that are nearest to being falls, with a measure of how near.
    dangerous: list[tuple[float, Slopes]] = field(default_factory=list)
    # The unsettled problems that are most likely to be falls, with their drift.
    doubtful: list[tuple[float, Slopes]] = field(default_factory=list)

    @property
    def longest_crossing(self) -> float:
        """The largest `Fall.crossing` for which a fall is worth confirming."""
        return max(QUICK, SLOWER * min((fall.crossing for fall in self.fallen), default=0.0))

    def candidates(self) -> list[Fall]:
        """The falls that are worth confirming, the smallest first."""
        longest = self.longest_crossing
        return sorted((fall for fall in self.fallen if fall.crossing <= longest), key=lambda fall: size(fall.slopes))

    def add(self, measured: Measured) -> None:
        settled, outward, sequences = measured.settled, measured.outward, measured.sequences
        falls = measured.falls()
        self.fallen += falls
        self.problems += len(settled)
        self.survives += int(settled.sum()) - len(falls)
        self.unsettled += int((~settled).sum())
        # |Σs|/Σ|s| is the share of its movement by which gradient descent approaches x*.
        fair_drift = np.array([abs(sum(slopes)) / sum(map(abs, slopes)) for slopes in sequences])
        danger, doubt = np.where(settled, outward / fair_drift, -np.inf), np.where(settled, -np.inf, outward)
        self.dangerous = _largest(self.dangerous, danger, sequences, DANGEROUS)
        self.doubtful = [each for each in _largest(self.doubtful, doubt, sequences, LONGER) if each[0] > -math.inf]


def _largest(
    kept: Sequence[tuple[float, Slopes]], values: Floats, sequences: Sequence[Slopes], most: int
) -> list[tuple[float, Slopes]]:
    """Merge the kept sequences with new ones by their values, and return the largest in order."""
    new = [(float(values[i]), sequences[i]) for i in np.argsort(-values)[:most].tolist()]
    return sorted([*kept, *new], reverse=True)[:most]


class Search:
    """One search, which reports progress to ``watch``; the time limit or a request to stop ends it unfinished."""

    def __init__(self, target: Target, limits: Limits, executor: Executor, watch: Watch = UNWATCHED) -> None:
        self.target, self.limits, self._executor, self._watch = target, limits, executor, watch
        self.found = Found()  # the results so far
        self.finished = True  # False if it ended early
        self._deadline = time.monotonic() + (math.inf if limits.seconds is None else limits.seconds)
        self._longest = min(target.max_period or limits.max_period, limits.max_period)
        self._every = families(self._longest)
        self.total = limits.problems or target.problems or len(self._every)  # problems that are tried if none fails

    def over(self) -> bool:
        """Whether to stop because of the time limit or a request; if so, the search counts as unfinished."""
        if self._watch.should_stop() or time.monotonic() >= self._deadline:
            self.finished = False
        return not self.finished

    def run(self) -> Found:
        """Try the families, run doubtful problems for longer, then try random ones until one fails or up to `total`."""
        numbers = np.random.default_rng(self.limits.seed)
        some = np.linspace(0, len(self._every) - 1, min(len(self._every), self.total)).astype(int)  # evenly spaced
        self._try(self._every[i] for i in some)
        rounds = itertools.count() if self.limits.problems else range(MOST_ROUNDS)
        for _ in rounds:
            if self.found.fallen or self.found.problems >= self.total or self.over():
                break
            count = min(self.target.at_once, MOST_OF_A_ROUND)
            near = [neighbours(numbers, slopes, NEIGHBOURS, self._longest) for _, slopes in self.found.dangerous]
            self._try([*random_sequences(numbers, count, self._longest), *itertools.chain(*near)])
        return self.found

    def shrink(self, fall: Fall) -> list[Fall]:
        """Replace a fall repeatedly by its smallest simplification that is also a fall worth confirming.

        `size` decides which is smallest. All falls from the first to the last are returned, as `canonical` rotations.
        """
        way, longest = [fall], self.found.longest_crossing
        while not self.over():
            tried = self._measured(simpler(way[-1].slopes)[:MOST_SIMPLER])
            smaller = [each for measured in tried for each in measured.falls() if each.crossing <= longest]
            smaller.sort(key=lambda each: size(each.slopes))
            found = next(filter(self.target.agrees, smaller), None)
            if found is None:
                break
            way.append(found)
            self._watch.progress(f"{self.target.settings.name}, shrinking: period {len(found.slopes)}", 0, 1)
        return [replace(each, slopes=canonical(each.slopes)) for each in way]

    def _measured(self, sequences: Sequence[Slopes], doublings: int = DOUBLINGS) -> Iterator[Measured]:
        """Measure sequences batch by batch; stop early if the search is over."""
        by_period, size_of_batch = sorted(dict.fromkeys(sequences), key=len), self.target.at_once
        batches = [by_period[i : i + size_of_batch] for i in range(0, len(by_period), size_of_batch)]
        look = functools.partial(measure, first=self.target.first, doublings=doublings, should_stop=self.over)
        pending = [self._executor.submit(look, self.target.make_batch, batch) for batch in batches]
        try:
            for future in pending:
                if measured := self._result(future):
                    yield measured
        finally:
            for future in pending:  # running batches check `over` themselves
                future.cancel()

    def _result(self, future: Future[Measured | None]) -> Measured | None:
        while not self.over() and not wait([future], STOP_SECONDS).done:
            self._report()
        return None if future.cancel() else future.result()  # this returns soon, since running batches check `over`

    def _report(self) -> None:
        label = f"{self.target.settings.name}, searching: fails on {len(self.found.fallen):,}"
        self._watch.progress(label, self.found.problems, self.total)

    def _try(self, sequences: Iterable[Slopes]) -> None:
        """Try sequences, then run doubtful ones for longer; theory, or else their drift, says which are doubtful."""
        for measured in self._measured(list(itertools.islice(sequences, self.total - self.found.problems))):
            self.found.add(measured)
            self._report()
        self._dismiss()
        doubtful = [(outward, slopes, self.target.theory(slopes)) for outward, slopes in self.found.doubtful]
        self.found.doubtful = []
        chosen = [slopes for outward, slopes, sign in doubtful if (outward if sign is None else sign) > 0]
        if not chosen or self.found.fallen:
            return
        again = Found()
        for measured in self._measured(chosen, doublings=DOUBLINGS + MORE_DOUBLINGS):
            again.add(measured)
        self.found.fallen += again.fallen
        self.found.survives += again.survives
        self.found.unsettled -= len(again.fallen) + again.survives
        self._dismiss()

    def _dismiss(self) -> None:
        """Among the smallest and the quickest falls, count those that contradict theory as unsettled."""
        fallen, number = self.found.fallen, MOST_CHECKED // 2
        smallest = heapq.nsmallest(number, fallen, key=lambda fall: size(fall.slopes))
        quickest = heapq.nsmallest(number, fallen, key=lambda fall: fall.crossing)
        for fall in dict.fromkeys((*smallest, *quickest)):
            if not self.target.agrees(fall):
                fallen.remove(fall)
                self.found.unsettled += 1
