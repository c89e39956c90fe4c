"""An attack from end to end: search, shrink, confirm, and what is written.

``<out>/<optimizer>/<id>/`` holds ``attack.json``, what came out; and where something fell ``counterexample.yaml``,
which `amsgrad-exp run --config` repeats, and below ``counterexample/`` the recorded runs that confirm it.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from amsgrad_exp.attack.confirm import all_cases, confirm
from amsgrad_exp.attack.result import Attack, Counterexample
from amsgrad_exp.attack.search import Fall, Found, Limits, Search
from amsgrad_exp.attack.sequences import canonical
from amsgrad_exp.attack.shrink import shrink
from amsgrad_exp.attack.target import Target
from amsgrad_exp.records.files import write_atomically


class Watch:
    """Who looks on at an attack; this one looks away."""

    def searching(self, found: Found, total: int) -> None:
        """Called several times a second, with what was found so far and how many problems are to be tried."""

    def shrunk(self, fall: Fall) -> None:
        """Called with every smaller problem."""

    def confirming(self, done: int, total: int) -> None:
        """Called before every run that confirms, with how many there were."""

    def should_stop(self) -> bool:
        """Asked several times a second; True ends the attack, and what was found so far is kept."""
        return False

    def note(self, line: str) -> None:
        """A line on what went wrong and stopped nothing."""


def attack(target: Target, limits: Limits, out: Path, executor: Executor, watch: Watch | None = None) -> Attack:
    """Search for a problem on which an optimizer fails, shrink it, confirm it, and keep all that under ``out``.

    Args:
        target: the optimizer.
        limits: how far to search; confirming takes its own time.
        out: a directory, made where it is missing.
        executor: where lanes are run, on threads of this process.
        watch: who looks on.

    Raises:
        RunFailed: the optimizer raised, or x was finite on no problem.
        RunError, OSError: what was found could not be kept.
    """
    watch = watch or Watch()
    started, begun = datetime.now(UTC), time.monotonic()
    directory = out / target.settings.name / uuid.uuid4().hex
    directory.mkdir(parents=True)
    try:
        search = Search(
            target.make_lanes,
            target.at_once,
            limits,
            executor,
            first=target.first,
            problems=target.problems,
            max_period=target.max_period,
            theory=target.theory,
            should_stop=watch.should_stop,
            on_found=lambda found: watch.searching(found, search.total),
        )
        search.run()
        candidates = search.found.candidates()
        way = shrink(search, candidates[0], watch.shrunk) if candidates else []
        searched = time.monotonic() - begun
        counterexample = _confirmed(target, _worth_confirming(way, candidates), directory, watch)
    except BaseException:
        with contextlib.suppress(OSError):
            directory.rmdir()  # where nothing was found yet
        raise
    result = Attack(
        settings=target.settings,
        limits=limits,
        directory=directory,
        found=search.found,
        way=way,
        counterexample=counterexample,
        started=started,
        search_seconds=searched,
        seconds=time.monotonic() - begun,
        interrupted=watch.should_stop(),
        total=search.total,
        finished=search.finished,
    )
    result.record.write(directory)
    return result


def _confirmed(target: Target, falls: Iterable[Fall], directory: Path, watch: Watch) -> Counterexample | None:
    """The first fall that is confirmed, else the first of those that are not; None where nothing fell."""
    counterexample = None
    for fall in falls:
        trial, _ = next(all_cases(target.settings, fall))
        config = directory / "counterexample.yaml"
        if counterexample is None:
            write_atomically(config, trial.to_yaml().encode())
        confirmation = confirm(
            target.settings,
            fall,
            directory,
            on_run=watch.confirming,
            should_stop=watch.should_stop,
            on_note=watch.note,
        )
        if confirmation.confirmed or counterexample is None:
            counterexample = Counterexample(confirmation, config)
            write_atomically(config, trial.to_yaml().encode())
        if confirmation.confirmed or watch.should_stop():
            break
    return counterexample


def _worth_confirming(way: Sequence[Fall], candidates: Sequence[Fall]) -> Iterable[Fall]:
    """The smallest problem, shrunk; then, should that not be confirmed, as it was found; then the quickest."""
    if not candidates:
        return ()
    quickest = min(candidates, key=lambda fall: fall.crossing)
    return dict.fromkeys((way[-1], way[0], replace(quickest, slopes=canonical(quickest.slopes))))
