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

SETTINGS = {"stated": "settings stated with the problem", "defaults": "the optimizer's default settings"}
STEP_SIZES = {"constant": "constant step size", "inv-sqrt": "step sizes α/√t", "inv": "step sizes α/t"}


def plane_title(settings: str, schedule: str) -> str:
    """What a table of a gauntlet is of: a choice of settings and a schedule."""
    return f"{SETTINGS[settings]}, {STEP_SIZES.get(schedule, f'schedule {schedule}')}"


def mark(row: Mapping[str, Any]) -> Mark:
    """The mark of a row, from its ``iterate`` and ``regret_trend``."""
    if row["failure"] is not None:
        return FAILED
    if row["iterate"] == Verdict.OPTIMUM:
        return CONVERGES if row["regret_trend"] == Trend.VANISHING else CIRCLES
    return FAILS if row["iterate"] in (Verdict.WORST, Verdict.AWAY) else BETWEEN
