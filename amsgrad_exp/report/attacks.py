"""The page of an attack."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt

from amsgrad_exp.attack.sequences import in_words
from amsgrad_exp.errors import Damaged
from amsgrad_exp.records.run import Run, list_runs
from amsgrad_exp.report import runs
from amsgrad_exp.report.page import Page, Plot, as_csv, short
from amsgrad_exp.report.style import CONFIGURATION
from amsgrad_exp.verdict import WORDS

KEYS = {"optimizer", "problems", "falls", "survives", "unsettled", "found", "counterexample", "smallest_period"}


LONGEST_PROBLEM = 200  # characters, of a step of shrinking


def page(directory: Path) -> Page:
    """A page of an attack: the problem on which the optimizer fails, the iterate on it, and the runs that confirm it.

    Raises:
        Damaged: a file is not what was written.
    """
    document = _read(directory / "attack.json")
    counterexample = document["counterexample"]
    recorded = list_runs(directory)
    shown = _one_of_each_schedule(recorded)
    base = runs.page(shown) if shown else Page("attack.html", "", "", (), {}, runs.NOTHING)
    plots, tables = list(base.plots), dict(base.tables)
    if counterexample:
        plots.insert(0, _slopes(counterexample["slopes"]))
        tables["slopes"] = as_csv(["t", "slope"], enumerate(counterexample["slopes"]))
    words = in_words(tuple(counterexample["slopes"])) if counterexample else None
    shrinking = document.get("shrinking", [])
    outcome = "a problem on which it fails" if document["found"] else "no fall confirmed"
    return dataclasses.replace(
        base,
        template="attack.html",
        title=f"{short(document['optimizer'])}: {outcome}",
        lead=f"{document['problems']:,} problems tried in {document['seconds']:g} s",
        plots=plots,
        tables=tables,
        content={
            **base.content,
            "attack": document,
            "words": words,
            "shrinking": [{**step, "problem": short(step["problem"], LONGEST_PROBLEM)} for step in shrinking],
            "shrunk_to_it": bool(shrinking) and shrinking[-1]["problem"] == words,
            "confirming": [_confirming(run) for run in recorded],
        },
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise Damaged(f"{path} is damaged: it is not an attack's result") from error
    if not isinstance(document, dict) or not document.keys() >= KEYS:
        raise Damaged(f"{path} is damaged: it is not an attack's result")
    return document


def _one_of_each_schedule(recorded: Sequence[Run]) -> list[Run]:
    """The first completed run with each schedule, which is from x*."""
    first: dict[str, Run] = {}
    for run in recorded:
        if run.summary.status == "completed":
            first.setdefault(run.trial.schedule, run)
    return list(first.values())


def _confirming(run: Run) -> dict[str, Any]:
    """A line of the table of runs."""
    result, trial = run.summary.result, run.trial
    return {
        "schedule": trial.schedule,
        "start": trial.problem.start,
        "engine": run.summary.engine,
        "dtype": trial.dtype,
        "steps": trial.steps,
        "iterate": result and WORDS[result.iterate][0],
        "kind": result and result.iterate,
        "mean_x": result and result.mean_x,
        "regret": result and result.regret,
        "limit_regret": result and result.limit_regret,
        "status": run.status(),
    }


def _slopes(slopes: Sequence[int]) -> Plot:
    """The slopes over one period, as bars whose axis shows 1 and −1000 alike."""
    data = alt.NamedData("slopes", format=alt.CsvDataFormat(type="csv", parse={"t": "number", "slope": "number"}))
    bars = (
        alt.Chart(data)
        .transform_calculate(end="datum.t + 1")
        .mark_bar(color="#0072B2", aria=False)
        .encode(
            x=alt.X("t:Q", title="step t of one period", scale=alt.Scale(domain=[0, len(slopes)], nice=False)),
            x2="end",
            y=alt.Y("slope:Q", title=None, scale=alt.Scale(type="symlog")),
            y2=alt.Y2Datum(0),
            tooltip=["t:N", "slope:N"],
        )
        .properties(title="slope s of the loss f(x) = s·x", height=200)
    )
    words = f"One period of the problem, {len(slopes):,} steps: {short(in_words(tuple(slopes)), 300)}."
    return Plot("slopes", "The counterexample", {**alt.concat(bars).to_dict(), "config": CONFIGURATION}, words, 1)
