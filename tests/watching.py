"""A watch that remembers what it is told, and may ask to stop."""

from collections.abc import Callable

from amsgrad_exp.watch import Watch


class Watched(Watch):
    """Asks to stop after a number of reports of progress; None means never."""

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
