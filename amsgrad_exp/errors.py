"""Defines the errors that the user sees as one line, with the exit status of each."""

from __future__ import annotations

from typing import ClassVar


class Refusal(Exception):
    """A request was not carried out; the message is one line that says why.

    Attributes:
        status: the exit status of the command line.
    """

    status: ClassVar[int] = 1


class ConfigError(Refusal, ValueError):
    """An invalid experiment; the message names the field and the value."""

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
    """There is no such run, or this version cannot read it."""

    status = 2


class Damaged(RunError):
    """A recorded file is not what was written."""


class NotAsExpected(Refusal):
    """An optimizer did not settle where ``--expect`` says."""

    status = 3


class NotVerified(Refusal):
    """A record differs from the same computation done again."""

    status = 4
