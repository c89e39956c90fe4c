"""Ctrl-C, SIGTERM, and what somebody's optimizer prints."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType


def optimizers_print_to_stderr() -> contextlib.AbstractContextManager[object]:
    """Keep what somebody's optimizer prints out of our own output."""
    return contextlib.redirect_stdout(sys.stderr)


class Interruption:
    """Whether, and by which signal, the user asked to stop."""

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
