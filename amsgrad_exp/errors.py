"""Every refusal that is one line to its reader, each with the command line's exit status."""

from __future__ import annotations


class ConfigError(ValueError):
    """An experiment that cannot be; the message is one line that names the field and the value."""


class RunFailed(RuntimeError):
    """The optimizer raised, or the iterate became NaN or infinite; the message names the step."""


class RunError(RuntimeError):
    """A run cannot be found, recorded or resumed; the message is one line that says why."""


class NoSuchRun(RunError):
    """What was named is no run, or none that can be read here."""


class Damaged(RunError):
    """A file of a run does not hold what was written."""


class NoSteadyState(ValueError):
    """No steady state is known for an optimizer or a problem."""
