"""One letter for what a cell of a gauntlet came to: for tables and figures, told apart without colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amsgrad_exp.verdict import Trend, Verdict


@dataclass(frozen=True)
class Mark:
    """What a cell came to.

    Attributes:
        letter: in tables and figures.
        words: what it means.
        style: in a terminal.
        colour: in a figure, of Okabe and Ito's, or lighter.
    """

    letter: str
    words: str
    style: str
    colour: str


CONVERGES = Mark("O", "the iterates settle at the optimum, and the average regret vanishes", "green", "#009E73")
CIRCLES = Mark("o", "the iterates settle at the optimum, the average regret does not vanish (yet)", "cyan", "#56B4E9")
BETWEEN = Mark("-", "the iterates are between, or on their way", "yellow", "#F0E442")
FAILS = Mark("X", "the iterates settle at the worst point, or move away", "red", "#D55E00")
FAILED = Mark("?", "the run failed, as where x overflows", "magenta", "#BBBBBB")
PROVED = "underlined: proved, the run repeats itself and its limit is exact"
MARKS = (CONVERGES, CIRCLES, BETWEEN, FAILS, FAILED)

PLANES = {
    ("stated", "constant"): "settings stated with the problem, constant step size",
    ("stated", "inv-sqrt"): "settings stated with the problem, step sizes α/√t",
    ("defaults", "constant"): "the optimizer's default settings, constant step size",
    ("defaults", "inv-sqrt"): "the optimizer's default settings, step sizes α/√t",
}


def mark(row: Mapping[str, Any]) -> Mark:
    """The mark of a row, from its ``iterate`` and ``regret_trend``."""
    if row["failure"] is not None:
        return FAILED
    if row["iterate"] == Verdict.OPTIMUM:
        return CONVERGES if row["regret_trend"] == Trend.VANISHING else CIRCLES
    return FAILS if row["iterate"] in (Verdict.WORST, Verdict.AWAY) else BETWEEN
