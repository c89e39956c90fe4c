"""Builds the page of an attack."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amsgrad_exp.attacks.record import AttackRecord, CounterexampleRecord
from amsgrad_exp.attacks.sequences import in_words
from amsgrad_exp.charts.traces import slopes_plot, slopes_table
from amsgrad_exp.errors import Damaged, NoSuchRun, RunError
from amsgrad_exp.problems import Cycle
from amsgrad_exp.records.files import sha256
from amsgrad_exp.records.run import Run, read_run
from amsgrad_exp.report import run_page as runs
from amsgrad_exp.report.page import Page, short
from amsgrad_exp.verdict import WORDS

LONGEST_PROBLEM = 200  # characters that describe the problem of one shrinking step
LONGEST_TITLE = 160
MOST_NAMED = 5  # missing or damaged runs that are named


def page(directory: Path) -> Page:
    """The page of an attack: the problem on which the optimizer fails, the iterates, and the runs that confirm it.

    Missing or damaged runs are not shown, and the page says so.

    Raises:
        NoSuchRun: the attack was written by a newer version.
        Damaged: attack.json is damaged.
    """
    record = AttackRecord.read(directory)
    example = record.counterexample
    evidence = _evidence(directory, example) if example else Evidence((), ())
    shown = _one_of_each_schedule(evidence.runs)
    base = runs.page(shown) if shown else Page("attack.html", "", "", (), {}, runs.NOTHING)
    plots, tables = list(base.plots), dict(base.tables)
    if example:
        plots.insert(0, slopes_plot(example.slopes, short(in_words(tuple(example.slopes)), 300)))
        tables["slopes"] = slopes_table(example.slopes)
    words = in_words(example.slopes) if example else None
    shrinking = [step.model_dump() for step in record.shrinking]
    return dataclasses.replace(
        base,
        template="attack.html",
        title=short(f"{_attacked(record)}: {_outcome(record, evidence)}", LONGEST_TITLE),
        lead=_lead(record),
        plots=plots,
        tables=tables,
        content={
            **base.content,
            "attack": record,
            "said": _said(record, evidence),
            "lost": evidence.lost,
            "words": words,
            "shrinking": [{**step, "problem": short(step["problem"], LONGEST_PROBLEM)} for step in shrinking],
            "shrunk_to_it": bool(shrinking) and shrinking[-1]["problem"] == words,
            "confirming": [_confirming(run) for run in evidence.runs],
            "settings": _settings(record),
            "id": directory.name,
        },
    )


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The runs that should confirm a counterexample, as far as they are intact.

    Attributes:
        runs: the intact runs, oldest first.
        lost: sentences that say what is missing or damaged.
    """

    runs: Sequence[Run]
    lost: Sequence[str]


def _evidence(directory: Path, example: CounterexampleRecord) -> Evidence:
    folder = directory / "counterexample"
    ids = example.runs
    if ids is None:
        ids = tuple(path.name for path in sorted(folder.glob("*")) if path.is_dir())
    kept: list[Run] = []
    gone: dict[str, list[str]] = {"missing": [], "damaged": []}
    for run_id in ids:
        try:
            run = _checked(folder / run_id)
        except NoSuchRun:
            gone["missing"].append(run_id)
        except (RunError, OSError):
            gone["damaged"].append(run_id)
        else:
            if isinstance(run.trial.problem, Cycle) and run.trial.problem.slopes == example.slopes:
                kept.append(run)
            elif example.runs is not None:
                gone["damaged"].append(run_id)
    purpose = "confirmed it" if example.confirmed else "were to confirm it"
    lost = [
        f"Of {len(ids):,} runs that {purpose}, {len(some):,} {'is' if len(some) == 1 else 'are'} {how}: {_named(some)}."
        for how, some in gone.items()
        if some
    ]
    if example.runs is None and not ids:
        lost.append(f"None of the runs that {purpose} were found.")
    kept.sort(key=lambda run: run.summary.started)
    return Evidence(kept, [*lost, *_config(directory, example)])


def _checked(directory: Path) -> Run:
    """Read a run and check all of its files, including the points, which `read_run` does not read."""
    run = read_run(directory)
    if not run.trusts(run.trace_bytes()):
        raise Damaged(f"{directory / 'trace.csv'} is damaged: its checksum is wrong")
    return run


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MOST_NAMED:,} more" if len(ids) > MOST_NAMED else ""
    return ", ".join(run_id[:8] for run_id in ids[:MOST_NAMED]) + more


def _config(directory: Path, example: CounterexampleRecord) -> list[str]:
    """A sentence that says what is wrong with counterexample.yaml, if anything."""
    path = directory / "counterexample.yaml"
    if not path.is_file():
        return ["counterexample.yaml, which repeats the first run, is missing."]
    if example.config_sha256 is not None and sha256(path.read_bytes()) != example.config_sha256:
        return ["counterexample.yaml is damaged: its checksum is wrong."]
    return []


def _settings(record: AttackRecord) -> dict[str, Any] | None:
    """The optimizer's settings and the limits of the search; None for records that lack them."""
    if record.settings is None or record.limits is None:
        return None
    own = record.settings.model_dump(mode="json", exclude={"options", "name", "optimized_update"}, exclude_none=True)
    options = {f"option {name}": json.dumps(value) for name, value in record.settings.options.items()}
    limits = {f"limit: {name}": value for name, value in dataclasses.asdict(record.limits).items() if value is not None}
    return {"optimizer": record.optimizer, **own, **options, **limits}


def _attacked(record: AttackRecord) -> str:
    """The optimizer with all its settings, which distinguish one attack from another."""
    name = short(record.optimizer)
    if record.settings is None:
        return name
    own = record.settings.model_dump(include={"lr", "beta1", "beta2", "eps"}, exclude_none=True)
    settings = {name: f"{value:g}" for name, value in own.items()} | record.settings.options
    return f"{name} with {', '.join(f'{name} {value}' for name, value in settings.items())}"


def _outcome(record: AttackRecord, evidence: Evidence) -> str:
    if not record.found:
        return "no counterexample confirmed"
    return "a problem on which it fails" if evidence.runs else "a problem on which it failed; the evidence is lost"


def _lead(record: AttackRecord) -> str:
    tried = f"{record.problems:,} problems tried"
    if record.search_seconds is None:
        return f"{tried}; {record.seconds:.1f} s including the confirming runs"
    ended = ", then interrupted" if record.interrupted else ", not finished" if record.finished is False else ""
    return f"{tried}; search and shrinking took {record.search_seconds:.1f} s of {record.seconds:.1f} s{ended}"


def _said(record: AttackRecord, evidence: Evidence) -> str:
    """The outcome in a sentence, as far as there is evidence for it."""
    example, one = record.counterexample, len(evidence.runs) == 1
    if example is None:
        if record.finished is False:
            return "The attack was not finished. No counterexample was found up to then."
        if not record.falls + record.survives:
            return "No run settled, so the search gives no answer."
        return "No counterexample found: the iterates drifted to the worst point on no problem. This is not a proof."
    if not example.confirmed:
        return "A suspected counterexample that was not confirmed"
    if not evidence.runs:
        return "A counterexample whose evidence is lost, so it has to be confirmed again"
    runs = f"{len(evidence.runs):,} run{'' if one else 's'}"
    left = f" that {'remains' if one else 'remain'}" if evidence.lost else ""
    return f"A counterexample, confirmed by {runs}{left}"


def _one_of_each_schedule(recorded: Sequence[Run]) -> list[Run]:
    """The first completed run with each schedule, which starts at x*."""
    first: dict[str, Run] = {}
    for run in recorded:
        if run.summary.status == "completed":
            first.setdefault(run.trial.schedule, run)
    return list(first.values())


def _confirming(run: Run) -> dict[str, Any]:
    """A row of the table of runs."""
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
