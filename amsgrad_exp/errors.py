"""Every refusal that is one line to its reader, each with the command line's exit status."""

from __future__ import annotations

from typing import ClassVar


class Refusal(Exception):
    """Something that was asked for was not done; the message is one line that says why.

    Attributes:
        status: the exit status of the command line.
    """

    status: ClassVar[int] = 1


class ConfigError(Refusal, ValueError):
    """An experiment that cannot be; the message names the field and the value."""

    status = 2


class NoSteadyState(ConfigError):
    """No steady state is known for an optimizer or a problem."""


class NoBound(ConfigError):
    """No bound on the regret is known for an optimizer or a problem."""


class RunFailed(Refusal, RuntimeError):
    """The optimizer raised, or the iterate became NaN or infinite; the message names the step."""


class RunError(Refusal, RuntimeError):
    """A run cannot be found, recorded or resumed."""


class NoSuchRun(RunError):
    """What was named is no run, or none that can be read here."""

    status = 2


class Damaged(RunError):
    """A file of a run does not hold what was written."""


class NotAsExpected(Refusal):
    """An optimizer settled elsewhere than ``--expect`` says."""

    status = 3


class NotVerified(Refusal):
    """What is recorded is not what comes out."""

    status = 4
