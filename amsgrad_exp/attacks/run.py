"""Runs an attack: search, shrink, confirm and record.

``<out>/<optimizer>/<id>/`` contains ``attack.json``, the outcome. If a problem fell, it also contains
``counterexample.yaml``, which `amsgrad-exp run --config` runs, and in ``counterexample/`` the runs that confirm it.
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

from amsgrad_exp.attacks.confirm import all_cases, confirm
from amsgrad_exp.attacks.result import Attack, Counterexample
from amsgrad_exp.attacks.search import Fall, Limits, Search
from amsgrad_exp.attacks.sequences import canonical
from amsgrad_exp.attacks.shrink import shrink
from amsgrad_exp.attacks.target import Target
from amsgrad_exp.records.files import write_atomically
from amsgrad_exp.watch import UNWATCHED, Watch


def attack(target: Target, limits: Limits, out: Path, executor: Executor, watch: Watch = UNWATCHED) -> Attack:
    """Search for a problem on which an optimizer fails, shrink it, confirm it, and store the outcome under ``out``.

    Args:
        target: the optimizer.
        limits: the limits of the search; confirming takes extra time.
        out: a directory, created if missing.
        executor: runs the batches on threads of this process.
        watch: progress callbacks; a request to stop ends the attack, whose results so far are stored.

    Raises:
        RunFailed: the optimizer raised an exception, or x was finite on no problem.
        RunError, OSError: the outcome could not be stored.
    """
    name = target.settings.name

    def shrunk(fall: Fall) -> None:
        watch.progress(f"{name}, shrinking: period {len(fall.slopes)}", 0, 1)

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
            on_found=lambda found: watch.progress(
                f"{name}, searching: {found.falls:,} fall", found.problems, search.total
            ),
        )
        search.run()
        candidates = search.found.candidates()
        way = shrink(search, candidates[0], shrunk) if candidates else []
        searched = time.monotonic() - begun
        counterexample = _confirmed(target, _worth_confirming(way, candidates), directory, watch)
    except BaseException:
        with contextlib.suppress(OSError):
            directory.rmdir()  # fails if something was found already
        raise
    result = Attack(
        settings=target.settings,
        shared_between=target.shared_between,
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
    """The first fall that is confirmed, else the first fall; None if there is none."""
    counterexample = None
    for fall in falls:
        trial, _ = next(all_cases(target.settings, fall))
        config = directory / "counterexample.yaml"
        if counterexample is None:
            write_atomically(config, trial.to_yaml().encode())
        confirmation = confirm(target.settings, fall, directory, watch)
        if confirmation.confirmed or counterexample is None:
            counterexample = Counterexample(confirmation, config)
            write_atomically(config, trial.to_yaml().encode())
        if confirmation.confirmed or watch.should_stop():
            break
    return counterexample


def _worth_confirming(way: Sequence[Fall], candidates: Sequence[Fall]) -> Iterable[Fall]:
    """The problems to confirm, in order: the shrunk problem, the problem before shrinking, and the quickest fall."""
    if not candidates:
        return ()
    quickest = min(candidates, key=lambda fall: fall.crossing)
    return dict.fromkeys((way[-1], way[0], replace(quickest, slopes=canonical(quickest.slopes))))
