"""Shows the progress and the problems of runs on the command line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from amsgrad_exp.api import Watch
from amsgrad_exp.cli.signals import Interruption, optimizers_print_to_stderr
from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.errors import RunFailed
from amsgrad_exp.output import console
from amsgrad_exp.output.progress import progress
from amsgrad_exp.spec.experiment import Trial


class Onlooker(Watch):
    """Shows a progress bar, stops when the user asks, and prints each problem once.

    Args:
        interruption: whether the user asked to stop.
        quiet: whether to hide the bar.
        raising: whether to raise an optimizer's failure; otherwise it is printed and stored.
    """

    def __init__(self, interruption: Interruption, *, quiet: bool, raising: bool = False) -> None:
        self._quiet = quiet
        self._raising = raising
        self._interruption = interruption
        self._noted: set[str] = set()
        self.failures: dict[str, RunFailed] = {}

    @contextlib.contextmanager
    def running(self, label: str, trial: Trial) -> Iterator[Callable[[Chunk], object]]:
        with progress(label, trial.steps, shown=not self._quiet) as update, optimizers_print_to_stderr():
            yield update

    def should_stop(self) -> bool:
        return self._interruption()

    def note(self, line: str) -> None:
        if line not in self._noted:  # report a dead labml server once, not for each run
            self._noted.add(line)
            console.note(line)

    def failed(self, label: str, failure: RunFailed) -> None:
        if self._raising:
            raise failure
        self.failures[label] = failure
        console.error(f"{label}: {failure}")
