"""Builds the page of one or several recorded runs."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from amsgrad_exp.bounds import Bounds
from amsgrad_exp.charts.traces import TABLE, Curve, on_regret, plot, table
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.output import words
from amsgrad_exp.problems import Problem
from amsgrad_exp.records.run import Run
from amsgrad_exp.report.page import Page, short
from amsgrad_exp.spec.labels import labels
from amsgrad_exp.spec.read import run_command
from amsgrad_exp.trace import Trace
from amsgrad_exp.verdict import WORDS

MOST_POINTS = 500  # per line
ALL_POINTS = 4000  # per panel: each point is an element of the page
FEWEST_POINTS = 100
BESIDE = "A broad pale line is a bound on R(t)/t, a thin dotted line a published bound."
BANDS = "Bands are 95 % confidence intervals of the means over seeds."
OPTIMA, LIMITS = "The dotted line in the iterate's panel is x*.", "Dotted lines in the regret's panel are exact limits."
LINEAR = "The axis of the regret is linear, because some of the last averages are not positive."

NOTHING: dict[str, Any] = {"missing": [], "entries": [], "problems": [], "decades": None, "note": ""}


def page(runs: Sequence[Run], bounds: Mapping[str, Bounds] | None = None, missing: Sequence[str] = ()) -> Page:
    """The page of one run, or of several side by side, with bounds by run id and sentences on what the page lacks.

    Raises a ConfigError if two runs cannot be distinguished, and Damaged if a run's points are damaged.
    """
    try:
        names = [short(name) for name in labels([run.trial for run in runs], [run.run_id[:8] for run in runs])]
    except ValueError as error:
        raise ConfigError(f"these runs cannot be distinguished: {error}") from error
    most = min(MOST_POINTS, max(FEWEST_POINTS, ALL_POINTS // len(runs)))
    traces, known = [run.trace.spread(most) for run in runs], [(bounds or {}).get(run.run_id) for run in runs]
    drawn = any(map(len, traces))
    curves = list(map(_curve, names, runs, traces, known))
    entries = list(map(_entry, itertools.count(1), names, runs, known))
    problems = {run.trial.problem.name: run.trial.problem for run in runs}
    return Page(
        template="runs.html",
        title=short(f"{_listed(names)} on {_listed(list(problems))}", 120),
        lead=_listed(list(dict.fromkeys(f"{words.setting(run.summary)}, {run.summary.dtype}" for run in runs))),
        plots=[plot(curves, log=_log(traces), alternative=_said(names, traces))] if drawn else [],
        tables={TABLE: table(curves)} if drawn else {},
        content={
            "missing": missing,
            "entries": entries,
            "problems": [
                {
                    "name": name,
                    "about": _about(type(it)),
                    "constants": it.model_dump(mode="json", exclude={"name"}) | {"x*": it.optimum},
                }
                for name, it in problems.items()
            ],
            "decades": _decades(names, runs) if drawn else None,
            "note": " ".join([_thinned(runs, traces), *_key(curves)]) if drawn else "",
        },
    )


def _thinned(runs: Sequence[Run], traces: Sequence[Trace]) -> str:
    logged, drawn = sum(len(run.trace) for run in runs), sum(map(len, traces))
    if logged == drawn:
        return f"All {logged:,} logged points are drawn."
    return f"Of {logged:,} logged points {drawn:,} are drawn, evenly spaced in log t; trace.csv has all of them."


def _about(problem: type[Problem]) -> list[str]:
    """The paragraphs of a problem's docstring."""
    paragraphs = (inspect.getdoc(problem) or "").replace("`", "").split("\n\n")
    return [paragraph for paragraph in paragraphs if not paragraph.startswith("Attributes:")]


def _listed(names: Sequence[str]) -> str:
    if len(names) > 4:
        return f"{len(names)} optimizers"
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _entry(number: int, label: str, run: Run, bounds: Bounds | None) -> dict[str, Any]:
    """The content of the page about one run, with all digits of every number."""
    result = run.summary.result
    said = {name: short(words.plain(said), 400) for name, said in words.verdict(run).items()}
    return {
        "number": number,
        "label": label,
        "run": run,
        "status": run.status(),
        "bounds": bounds.document() if bounds else None,
        "result": dataclasses.asdict(result) if result else {},
        "iterate": WORDS[result.iterate][0] if result else None,
        "trend": WORDS[result.regret_trend][0] if result else None,
        "words": said | (words.bound(bounds) if bounds else {}),
        "command": run_command(run.trial),
    }


def _curve(name: str, run: Run, trace: Trace, bounds: Bounds | None) -> Curve:
    """A run as it is drawn, with its exact limit and its bounds."""
    result, beside = run.summary.result, on_regret(bounds, trace) if bounds and len(trace) else {}
    return Curve(name, trace, run.trial.problem, result.limit_regret if result else None, beside)


def _log(traces: Sequence[Trace]) -> bool:
    """Whether the axis of average regrets is logarithmic: if all of the last decade are positive."""
    late = [trace.regret[10 * (trace.step + 1) >= trace.step[-1] + 1] for trace in traces if len(trace)]
    return bool(np.all(np.concatenate(late) > 0))


def _key(curves: Sequence[Curve]) -> Iterator[str]:
    """Sentences that explain what is drawn besides the curves, and what is omitted."""
    traces = [curve.trace for curve in curves]
    yield OPTIMA
    if any(curve.limit is not None and curve.limit > 0 for curve in curves):
        yield LIMITS
    if any(curve.beside for curve in curves):
        yield BESIDE
    if any(trace.regret_halfwidth is not None for trace in traces):
        yield BANDS
    if not _log(traces):
        yield LINEAR
    elif omitted := sum(int((trace.regret <= 0).sum()) for trace in traces):
        yield f"The logarithmic axis of the regret leaves out what is not positive: {omitted:,} of the averages."


def _said(names: Sequence[str], traces: Sequence[Trace]) -> str:
    """The figure in words, for readers who cannot see it."""
    ends = [
        f"{name} ends at R(t)/t = {trace.regret[-1]:.4g} and x = {trace.x[-1]:+.4g} at step {trace.step[-1]:,}"
        for name, trace in zip(names, traces, strict=True)
        if len(trace)
    ]
    return f"Two panels against step t on a logarithmic axis: average regret, and iterate. {'; '.join(ends)}."


def _decades(names: Sequence[str], runs: Sequence[Run]) -> dict[str, Any]:
    """The recorded points nearest to powers of ten, and each run's last point; None where a run has no such point."""
    traces = [run.trace for run in runs]
    steps = [trace.step for trace in traces if len(trace)]
    shared = functools.reduce(np.intersect1d, steps)
    steps_shown = {int(logged[-1]) for logged in steps}
    if len(shared):
        powers = 10.0 ** np.arange(len(str(shared[-1] + 1)))
        distances = np.abs(np.log(shared + 1)[:, None] - np.log(powers))
        steps_shown.update(shared[distances.argmin(axis=0)].tolist())
    rows = []
    for step in sorted(steps_shown):
        logged = [trace.rows(np.flatnonzero(trace.step == step)) for trace in traces]
        rows.append((step + 1, [(at.regret.item(), at.x.item()) if len(at) else None for at in logged]))
    return {"names": names, "rows": rows}
