"""Defines the progress callbacks of long operations: runs, sweeps, bounds and attacks."""

from __future__ import annotations

from amsgrad_exp.errors import RunFailed


class Watch:
    """Progress callbacks; the defaults do nothing, except that an optimizer's failure is raised."""

    def progress(self, label: str, done: int, total: int, unit: str = "", remark: str = "") -> None:
        """Called often with what is going on, and how much of it is done and recorded: steps of a run, or cells."""

    def should_stop(self) -> bool:
        """Called several times a second; True interrupts what is going on, so that it can be resumed."""
        return False

    def note(self, line: str) -> None:
        """Called with one line about a problem that does not stop it, such as a labml server that does not answer."""

    def failed(self, label: str, failure: RunFailed) -> None:
        """Called if an optimizer of a comparison fails after some recorded steps; raise the failure to stop here."""
        raise failure


UNWATCHED = Watch()
