"""Shows a progress bar on a terminal."""

from __future__ import annotations

import time
from typing import Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from amsgrad_exp.output.console import err

RUN_SHOWN_AFTER = 0.5  # seconds; a sweep's bar is shown at once
REFRESH_SECONDS = 0.1
UNITS = ("", "k", "M", "G")


class Bar:
    """A progress bar, which goes when what it shows is done; arguments of `update` as of `Watch.progress`."""

    def __init__(self) -> None:
        self._bar = Progress(
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
        self._task = self._bar.add_task("", rate="", remark="")
        self._begun = 0.0
        self._first: tuple[float, int] | None = None
        self._refreshed = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._first = None
        if self._bar.live.is_started:
            self._bar.stop()

    def update(self, label: str, done: int, total: int, unit: str, remark: str) -> None:
        now = time.monotonic()
        self._begun = self._begun or now
        begun, already = self._first = self._first or (now, done)
        elapsed = now - begun
        if not err.is_terminal or now - self._begun < (0 if unit == "cells" else RUN_SHOWN_AFTER):
            return
        if now - self._refreshed >= REFRESH_SECONDS:
            self._bar.start()
            self._refreshed = now
            rate = f"{_short((done - already) / elapsed)} {unit}/s" if elapsed and unit else ""
            self._bar.update(self._task, description=label, completed=done, total=total, rate=rate, remark=remark)
            self._bar.refresh()
        if done == total:
            self.__exit__()


def _short(number: float) -> str:
    for unit in UNITS:
        if number < 1000:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}T"
