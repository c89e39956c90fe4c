"""Builds the page of an attack."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from amsgrad_exp.attacks.attack_record import Attack
from amsgrad_exp.charts.traces import slopes_plot, slopes_table
from amsgrad_exp.report import run_page as runs
from amsgrad_exp.report.page import Page, short
from amsgrad_exp.verdict import WORDS

LONGEST_PROBLEM = 200  # characters that describe the problem of one shrinking step
LONGEST_TITLE = 160


def page(directory: Path) -> Page:
    """The page of an attack: the problem on which the optimizer fails, the iterates, and the runs that confirm it.

    Missing or damaged runs are not shown, and the page says so.
    """
    attack = Attack.read(directory)
    example, evidence = attack.counterexample, attack.evidence
    shown = list(evidence.of_each_schedule.values())
    base = runs.page(shown) if shown else Page("", "", "", (), {}, runs.NOTHING)
    plots, tables = list(base.plots), dict(base.tables)
    if example:
        plots.insert(0, slopes_plot(example.slopes, short(example.words, 300)))
        tables["slopes"] = slopes_table(example.slopes)
    shrinking = [step.model_dump() for step in attack.shrinking]
    return dataclasses.replace(
        base,
        template="attack.html",
        title=short(f"{_attacked(attack)}: {attack.verdict.partition(':')[0]}", LONGEST_TITLE),
        lead=f"{attack.problems:,} problems tried in {attack.facts()['time']}",
        plots=plots,
        tables=tables,
        content={
            **base.content,
            "attack": attack,
            "shrinking": [{**step, "problem": short(step["problem"], LONGEST_PROBLEM)} for step in shrinking],
            "shrunk_to_it": example is not None and [example.words] == [step["problem"] for step in shrinking[-1:]],
            "confirming": evidence.runs,
            "verdicts": {verdict: words for verdict, (words, _) in WORDS.items()},
            "settings": _settings(attack),
            "id": directory.name,
        },
    )


def _settings(attack: Attack) -> dict[str, Any] | None:
    """The optimizer's settings and the limits of the search; None for records that lack them."""
    if attack.settings is None or attack.limits is None:
        return None
    own = attack.settings.model_dump(mode="json", exclude={"options", "name", "optimized_update"}, exclude_none=True)
    options = {f"option {name}": json.dumps(value) for name, value in attack.settings.options.items()}
    limits = {f"limit: {name}": value for name, value in dataclasses.asdict(attack.limits).items() if value is not None}
    return {"optimizer": attack.optimizer, **own, **options, **limits}


def _attacked(attack: Attack) -> str:
    """The optimizer with all its settings, which distinguish one attack from another."""
    name = short(attack.optimizer)
    if attack.settings is None:
        return name
    own = attack.settings.model_dump(include={"lr", "beta1", "beta2", "eps"}, exclude_none=True)
    settings = {name: f"{value:g}" for name, value in own.items()} | attack.settings.options
    return f"{name} with {', '.join(f'{name} {value}' for name, value in settings.items())}"
