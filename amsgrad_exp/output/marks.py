"""Assigns a letter to each result of a gauntlet's cell, so that tables and figures can be read without colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amsgrad_exp.verdict import Trend, Verdict


@dataclass(frozen=True)
class Mark:
    """The mark of a result.

    Attributes:
        letter: the letter in tables and figures.
        words: the meaning.
        style: the style in a terminal.
        colour: the colour in a figure, from the palette of Okabe and Ito, or lighter.
    """

    letter: str
    words: str
    style: str
    colour: str


CONVERGES = Mark("O", "the iterates settle at the optimum, and the average regret vanishes", "green", "#009E73")
CIRCLES = Mark("o", "the iterates settle at the optimum, the average regret does not vanish (yet)", "cyan", "#56B4E9")
BETWEEN = Mark("-", "the iterates are between these points, or still on their way", "yellow", "#F0E442")
FAILS = Mark("X", "the iterates settle at the worst point, or move away", "red", "#D55E00")
FAILED = Mark("?", "the run failed, for example because x overflows", "magenta", "#BBBBBB")
PROVED = "underlined: proved, because the run repeats itself, so its limit is exact"
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
