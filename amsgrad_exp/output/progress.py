"""Shows progress bars of runs, sweeps and attacks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.output.console import err

RUN_SHOWN_AFTER = 0.5  # seconds
REFRESH_SECONDS = 0.1
UNITS = ("", "k", "M", "G")


@contextlib.contextmanager
def progress(label: str, steps: int, *, shown: bool) -> Iterator[Callable[[Chunk], None]]:
    """A progress bar for one run, shown only on a terminal and after half a second; ``shown=False`` hides it.

    Yields:
        A function to call with each chunk.
    """
    with _bar("steps", after=RUN_SHOWN_AFTER, shown=shown) as update:
        yield lambda chunk: update(
            label, chunk.step, steps, f"x {chunk.x:+.3f}  R(T)/T {chunk.total_regret / chunk.step:.3g}"
        )


@contextlib.contextmanager
def step_progress(label: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """The same for steps without chunks; yields a function to call with the steps done and the total."""
    with _bar("steps", after=RUN_SHOWN_AFTER, shown=shown) as update:
        yield lambda done, total: update(label, done, total, "")


@contextlib.contextmanager
def cell_progress(*, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for a sweep, on a terminal; yields a function to call with the cells done and the total."""
    with _bar("cells", after=0.0, shown=shown) as update:
        yield lambda done, total: update(f"{done:,}/{total:,} cells", done, total, "")


@contextlib.contextmanager
def problem_progress(label: str, *, shown: bool) -> Iterator[Callable[[str, int, int], None]]:
    """The same for an attack; yields a function to call with the stage, the amount done and the total."""
    with _bar("", after=RUN_SHOWN_AFTER, shown=shown) as update:
        yield lambda stage, done, total: update(f"{label}, {stage}", done, total, "")


@contextlib.contextmanager
def _bar(unit: str, *, after: float, shown: bool) -> Iterator[Callable[[str, int, int, str], None]]:
    """A bar that appears ``after`` seconds; yields its update with description, amount done, total and remark."""
    bar = Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[remark]}"),
        console=err,
        transient=True,
        auto_refresh=False,
        expand=True,
    )
    task = bar.add_task("", rate="", remark="")
    first: tuple[float, int] | None = None
    refreshed = 0.0

    def update(description: str, done: int, total: int, remark: str) -> None:
        nonlocal first, refreshed
        now = time.monotonic()
        first = first or (now, done)
        elapsed = now - first[0]
        if not (shown and err.is_terminal) or elapsed < after or now - refreshed < REFRESH_SECONDS:
            return
        bar.start()
        refreshed = now
        rate = f"{_short((done - first[1]) / elapsed)} {unit}/s" if elapsed and unit else ""
        bar.update(task, description=description, completed=done, total=total, rate=rate, remark=remark)
        bar.refresh()

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()


def _short(number: float) -> str:
    for unit in UNITS:
        if number < 1000:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}T"
