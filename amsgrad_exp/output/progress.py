"""Progress bars."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.output.console import (
    err,
)

PROGRESS_AFTER_SECONDS = 0.5
REFRESH_SECONDS = 0.1


@contextlib.contextmanager
def progress(label: str, steps: int, *, shown: bool) -> Iterator[Callable[[Chunk], None]]:
    """A progress bar for one run, on a terminal and once the run has taken half a second.

    Args:
        label: what is running.
        steps: T.
        shown: False never shows it.

    Yields:
        What to call with each chunk.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[point]}"),
        console=err,
        transient=True,
        auto_refresh=False,
        expand=True,
    )
    task = bar.add_task(label, total=steps, rate="", point="")
    first: tuple[float, int] | None = None
    refreshed = 0.0

    def update(chunk: Chunk) -> None:
        nonlocal first, refreshed
        now = time.monotonic()
        first = first or (now, chunk.step)
        elapsed = now - first[0]
        if not (shown and err.is_terminal) or elapsed < PROGRESS_AFTER_SECONDS or now - refreshed < REFRESH_SECONDS:
            return
        bar.start()
        refreshed = now
        rate = (chunk.step - first[1]) / elapsed
        regret = chunk.total_regret / chunk.step
        bar.update(
            task, completed=chunk.step, rate=f"{_short(rate)} steps/s", point=f"x {chunk.x:+.3f}  R(T)/T {regret:.3g}"
        )
        bar.refresh()

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()


def _short(number: float) -> str:
    for unit in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}T"


@contextlib.contextmanager
def cell_progress(*, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for a sweep, on a terminal; yields what to call with the cells done and their number."""
    bar = Progress(
        TextColumn("{task.completed:,}/{task.total:,} cells"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        console=err,
        transient=True,
        expand=True,
    )
    begun = time.monotonic()
    at_first: int | None = None

    def update(done: int, total: int) -> None:
        nonlocal at_first
        if not (shown and err.is_terminal):
            return
        if at_first is None:
            at_first = done
            bar.add_task("", total=total, rate="")
            bar.start()
        rate = (done - at_first) / max(time.monotonic() - begun, 1e-9)
        bar.update(bar.task_ids[0], completed=done, rate=f"{_short(rate)} cells/s")

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()
