"""A watch for tests."""

from __future__ import annotations

from collections.abc import Callable

from amsgrad_exp.watch import Watch


class Watched(Watch):
    """Remembers what it is told.

    Args:
        stop_after: the number of reports of progress after which it asks to stop; None for never.
        on_progress: called with every report's label and what is done.
    """

    def __init__(
        self, stop_after: int | None = None, on_progress: Callable[[str, int], object] = lambda label, done: None
    ) -> None:
        self.stop_after, self.on_progress = stop_after, on_progress
        self.reports: list[tuple[int, int]] = []  # done and total
        self.notes: list[str] = []

    @property
    def done(self) -> list[int]:
        return [done for done, _ in self.reports]

    def progress(self, label: str, done: int, total: int, unit: str = "", remark: str = "") -> None:
        self.reports.append((done, total))
        self.on_progress(label, done)

    def should_stop(self) -> bool:
        return self.stop_after is not None and len(self.reports) >= self.stop_after

    def note(self, line: str) -> None:
        self.notes.append(line)
