"""Handles Ctrl-C and SIGTERM, and redirects what a user's optimizer prints."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType


def optimizers_print_to_stderr() -> contextlib.AbstractContextManager[object]:
    """Redirect what a user's optimizer prints, so that it does not mix with the command's own output."""
    return contextlib.redirect_stdout(sys.stderr)


class Interruption:
    """The signal by which the user asked to stop, or 0."""

    signal: int = 0

    def __call__(self) -> bool:
        return bool(self.signal)


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turn the first SIGINT or SIGTERM into a request to stop; the second one ends the process at once."""
    interruption = Interruption()

    def request(number: int, frame: FrameType | None) -> None:
        interruption.signal = number
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)

    before = {each: signal.signal(each, request) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
