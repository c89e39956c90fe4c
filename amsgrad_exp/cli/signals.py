"""Shows the progress of a command, handles Ctrl-C and SIGTERM, and redirects what a user's optimizer prints."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

import typer

from amsgrad_exp.watch import Watch

if TYPE_CHECKING:
    from amsgrad_exp.errors import RunFailed
    from amsgrad_exp.output.progress import Bar


def optimizers_print_to_stderr() -> contextlib.AbstractContextManager[object]:
    """Redirect what a user's optimizer prints, so that it does not mix with the command's own output."""
    return contextlib.redirect_stdout(sys.stderr)


class Onlooker(Watch):
    """Shows a progress bar, stops when the user asks, and prints each problem once."""

    def __init__(self, bar: Bar | None = None) -> None:
        self.signal = 0  # the signal by which the user asked to stop, or 0
        self.exits = False  # whether such a request ends the command, because what is going on cannot be resumed
        self.failures: dict[str, RunFailed] = {}  # by label
        self._bar = bar
        self._noted: set[str] = set()

    def progress(self, label: str, done: int, total: int, unit: str = "", remark: str = "") -> None:
        if self._bar:
            self._bar.update(label, done, total, unit, remark)
        if self.exits and self.signal:
            raise typer.Exit(128 + self.signal)

    def should_stop(self) -> bool:
        return bool(self.signal)

    def note(self, line: str) -> None:
        from amsgrad_exp.output import console

        if line not in self._noted:  # report a dead labml server once, not for each run
            self._noted.add(line)
            console.note(line)

    def failed(self, label: str, failure: RunFailed) -> None:
        from amsgrad_exp.output import console

        self.failures[label] = failure
        console.error(f"{label}: {failure}")


@contextlib.contextmanager
def watching(*, quiet: bool) -> Iterator[Onlooker]:
    """Show progress, unless quiet; the first SIGINT or SIGTERM is a request to stop, the second ends the process."""
    from amsgrad_exp.output.progress import Bar

    with contextlib.ExitStack() as stack:
        onlooker = Onlooker(None if quiet else stack.enter_context(Bar()))

        def request(number: int, frame: FrameType | None) -> None:
            onlooker.signal = number
            for each in (signal.SIGINT, signal.SIGTERM):
                signal.signal(each, signal.SIG_DFL)

        for each in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, each, signal.signal(each, request))
        yield onlooker
