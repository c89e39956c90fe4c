"""What can be said of a run: where its iterates are, and whether its average regret vanishes."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """Where the iterates settled; `Problem.verdict` decides."""

    OPTIMUM = "optimum"
    WORST = "worst"
    BETWEEN = "between"
    AWAY = "away"


class Trend(StrEnum):
    """Whether the average regret goes to zero."""

    VANISHING = "vanishing"
    NOT_VANISHING = "not vanishing"
    UNDECIDED = "undecided"


class Evidence(StrEnum):
    """What a trend follows from: a limit that is exact, or how the average regret has fallen so far."""

    PROOF = "proof"
    TREND = "trend"


# As people see them: words, and a colour's name.
WORDS: dict[Verdict | Trend, tuple[str, str]] = {
    Verdict.OPTIMUM: ("optimum", "green"),
    Verdict.WORST: ("worst point", "red"),
    Verdict.BETWEEN: ("between", "yellow"),
    Verdict.AWAY: ("moving away", "red"),
    Trend.VANISHING: ("vanishing", "green"),
    Trend.NOT_VANISHING: ("not vanishing", "red"),
    Trend.UNDECIDED: ("undecided", "yellow"),
}
