"""Searches for problems on which an optimizer fails, among systematic families and then random sequences."""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field

import numpy as np

from amsgrad_exp.attacks.drift import FIRST_STEPS, MakeLanes, Measured, measure
from amsgrad_exp.attacks.families import families, neighbours, random_sequences
from amsgrad_exp.attacks.sequences import fair, size
from amsgrad_exp.engines.held import Slopes

QUICK = 15_000  # largest `Fall.crossing` that the literal engine can confirm in reasonable time
SLOWER = 1.5  # if no fall is that quick, accept up to this many times the quickest
STOP_SECONDS = 0.1  # how often should_stop is called
MOST_CHECKED = 200  # falls that are checked against the theory
LONGER = 256  # unsettled problems that are run for longer
MORE_DOUBLINGS = 3  # by this many doublings of T
MOST_ROUNDS = 8  # rounds of random problems; if periods are short, few problems of a round are new
DANGEROUS, NEIGHBOURS = 32, 32  # problems of the local search, and neighbours of each


@dataclass(frozen=True)
class Limits:
    """The limits of a search.

    Attributes:
        seconds: wall time after which the search stops, unfinished; None for no limit.
        problems: how many problems to try; None for the target's fixed set, `Target.problems`.
        max_period: the largest period of a problem.
        seed: the seed of the random problems.
    """

    seconds: float | None = None
    problems: int | None = None
    max_period: int = 4096
    seed: int = 0


@dataclass(frozen=True)
class Fall:
    """A problem on which the iterate goes to the worst end.

    Attributes:
        slopes: the slopes of one period.
        outward: the part of all movement that leads to the worst end, in (0, 1].
        speed: the mean size of an update.
        steps: T, after which this was measured.
    """

    slopes: Slopes
    outward: float
    speed: float
    steps: int

    @property
    def crossing(self) -> float:
        """P/outward: the number of steps in which x drifts as far as it moves in total within one period."""
        return len(self.slopes) / self.outward


@dataclass
class Found:
    """The results of a search so far.

    Attributes:
        problems, falls, survives, unsettled: the number of problems tried, and of each outcome.
        fallen: the falls.
        dangerous: the settled problems that are nearest to falling, with a measure of how near.
        doubtful: the unsettled problems that are most likely to fall, with their drift.
    """

    problems: int = 0
    survives: int = 0
    unsettled: int = 0
    fallen: list[Fall] = field(default_factory=list)
    dangerous: list[tuple[float, Slopes]] = field(default_factory=list)
    doubtful: list[tuple[float, Slopes]] = field(default_factory=list)

    @property
    def falls(self) -> int:
        return len(self.fallen)

    @property
    def longest_crossing(self) -> float:
        """The largest `Fall.crossing` of a fall that is worth confirming."""
        return max(QUICK, SLOWER * min((fall.crossing for fall in self.fallen), default=0.0))

    def candidates(self) -> list[Fall]:
        """The falls that are worth confirming, the smallest first."""
        longest = self.longest_crossing
        return sorted((fall for fall in self.fallen if fall.crossing <= longest), key=lambda fall: size(fall.slopes))

    def add(self, measured: Measured) -> None:
        """Add measured problems."""
        falls, settled = measured.falls, measured.settled
        self.problems += len(settled)
        self.survives += int(np.sum(settled & ~falls))
        self.unsettled += int(np.sum(~settled))
        fair_drift = np.array([fair(slopes) for slopes in measured.sequences])
        danger = np.where(settled, measured.outward / fair_drift, -np.inf)
        for lane in np.flatnonzero(falls).tolist():
            outward, speed = float(measured.outward[lane]), float(measured.speed[lane])
            self.fallen.append(Fall(measured.sequences[lane], outward, speed, measured.steps))
        for lane in np.argsort(-danger)[:DANGEROUS].tolist():
            self.dangerous.append((float(danger[lane]), measured.sequences[lane]))
        doubt = np.where(settled, -np.inf, measured.outward)
        for lane in np.argsort(-doubt)[:LONGER].tolist():
            if np.isfinite(doubt[lane]):
                self.doubtful.append((float(doubt[lane]), measured.sequences[lane]))
        self.dangerous = sorted(self.dangerous, reverse=True)[:DANGEROUS]
        self.doubtful = sorted(self.doubtful, reverse=True)[:LONGER]

    def take_back(self, fall: Fall) -> None:
        """Count a fall as unsettled."""
        self.fallen.remove(fall)
        self.unsettled += 1


@dataclass
class Search:
    """One search.

    Args:
        make_lanes: makes a batch of runs from sequences and the fixed iterates.
        at_once: the size of a batch.
        limits: the limits of the search.
        executor: runs the batches.
        first: the least first T after which a drift is measured.
        problems: how many problems to try if the limits do not say; None for all families and no random problems.
        max_period: the largest period, if it is less than that of the limits.
        theory: the drift that theory predicts, positive towards the worst end; None if it is unknown.
        should_stop: called several times a second.
        on_found: called with the results so far.

    Attributes:
        found: the results so far.
        total: how many problems are tried if none fails.
        finished: False if the search ended early because of the time limit or a request to stop.
    """

    make_lanes: MakeLanes
    at_once: int
    limits: Limits
    executor: Executor
    first: int = FIRST_STEPS
    problems: int | None = None
    max_period: int | None = None
    theory: Callable[[Slopes], float | None] = lambda slopes: None
    should_stop: Callable[[], bool] = lambda: False
    on_found: Callable[[Found], object] = lambda found: None

    def __post_init__(self) -> None:
        self.found = Found()
        self.finished = True
        seconds = math.inf if self.limits.seconds is None else self.limits.seconds
        self._deadline = time.monotonic() + seconds
        self._longest = min(self.max_period or self.limits.max_period, self.limits.max_period)
        self._every = families(self._longest)
        self.total = self.limits.problems or self.problems or len(self._every)

    def over(self) -> bool:
        """Whether to stop because of the time limit or a request; the search is then not finished."""
        if self.should_stop() or time.monotonic() >= self._deadline:
            self.finished = False
        return not self.finished

    def run(self) -> Found:
        """Try the families, then the doubtful problems for longer, then random problems until one fails or `total`.

        Raises:
            RunFailed: the optimizer raised an exception, or x was finite in no run.
        """
        numbers = np.random.default_rng(self.limits.seed)
        self._try(self._families())
        self._longer()
        rounds = itertools.count() if self.limits.problems else range(MOST_ROUNDS)
        for _ in rounds:
            if self.found.fallen or self.found.problems >= self.total or self.over():
                break
            count = min(self.at_once, 4096)
            near = [neighbours(numbers, slopes, NEIGHBOURS, self._longest) for _, slopes in self.found.dangerous]
            self._try([*random_sequences(numbers, count, self._longest), *itertools.chain(*near)])
            self._longer()
        return self.found

    def _families(self) -> list[Slopes]:
        """All families, or an evenly spaced subset if they are more than `total`."""
        most = min(len(self._every), self.total)
        return [self._every[i] for i in np.linspace(0, len(self._every) - 1, most).astype(int)]

    def measured(self, sequences: Sequence[Slopes], doublings: int = 4) -> Iterator[Measured]:
        """Measure sequences batch by batch; incomplete if the search is over."""
        by_period = sorted(dict.fromkeys(sequences), key=len)
        batches = [by_period[i : i + self.at_once] for i in range(0, len(by_period), self.at_once)]
        look = functools.partial(measure, first=self.first, doublings=doublings, should_stop=self.over)
        pending = [self.executor.submit(look, self.make_lanes, batch) for batch in batches]
        try:
            for future in pending:
                if measured := self._result(future):
                    yield measured
        finally:
            for future in pending:  # running batches check `over` themselves
                future.cancel()

    def _result(self, future: Future[Measured | None]) -> Measured | None:
        while not self.over():
            try:
                return future.result(STOP_SECONDS)
            except NotYet:
                self.on_found(self.found)
        return None if future.cancel() else future.result()  # returns soon, because running batches check `over`

    def _try(self, sequences: Iterable[Slopes]) -> None:
        for measured in self.measured(list(itertools.islice(sequences, self.total - self.found.problems))):
            self.found.add(measured)
            self.on_found(self.found)
        self._hold_against_theory()

    def _longer(self) -> None:
        """Run doubtful problems for longer if theory or, without theory, their drift says that they fall."""
        doubtful = [(outward, slopes, self.theory(slopes)) for outward, slopes in self.found.doubtful]
        self.found.doubtful = []
        chosen = [slopes for outward, slopes, sign in doubtful if (outward if sign is None else sign) > 0]
        if not chosen or self.found.fallen:
            return
        again = Found()
        for measured in self.measured(chosen, doublings=4 + MORE_DOUBLINGS):
            again.add(measured)
        self.found.fallen += again.fallen
        self.found.survives += again.survives
        self.found.unsettled -= again.falls + again.survives
        self._hold_against_theory()

    def _hold_against_theory(self) -> None:
        """Count those of the smallest and the quickest falls as unsettled that contradict theory."""
        fallen, number = self.found.fallen, MOST_CHECKED // 2
        smallest = heapq.nsmallest(number, fallen, key=lambda fall: size(fall.slopes))
        quickest = heapq.nsmallest(number, fallen, key=lambda fall: fall.crossing)
        for fall in dict.fromkeys((*smallest, *quickest)):
            sign = self.theory(fall.slopes)
            if sign is not None and sign <= 0:
                self.found.take_back(fall)
