"""Names the possible outcomes of a run: where its iterates end, and whether its average regret vanishes."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """Where the iterates settled, as decided by `Problem.verdict`."""

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
    """What a `Trend` is based on: an exact limit (proof), or the decrease of the average regret so far (trend)."""

    PROOF = "proof"
    TREND = "trend"


# The displayed words, and the name of their colour.
WORDS: dict[Verdict | Trend, tuple[str, str]] = {
    Verdict.OPTIMUM: ("optimum", "green"),
    Verdict.WORST: ("worst point", "red"),
    Verdict.BETWEEN: ("between", "yellow"),
    Verdict.AWAY: ("moving away", "red"),
    Trend.VANISHING: ("vanishing", "green"),
    Trend.NOT_VANISHING: ("not vanishing", "red"),
    Trend.UNDECIDED: ("undecided", "yellow"),
}
