"""Prints results to the terminal as tables, plots and lines."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console, ConsoleDimensions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from amsgrad_exp.driver.result import Result
from amsgrad_exp.engines.base import Driven
from amsgrad_exp.errors import NoSteadyState
from amsgrad_exp.records.run import Run
from amsgrad_exp.records.summary import Summary
from amsgrad_exp.records.verify import Verification
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.schedule import schedule_of
from amsgrad_exp.spec.sweep import Sweep
from amsgrad_exp.sweeps.find import Kept
from amsgrad_exp.sweeps.store import Results
from amsgrad_exp.sweeps.sweeping import Verification as Verified
from amsgrad_exp.theory import limit
from amsgrad_exp.trace import Trace
from amsgrad_exp.verdict import WORDS, Evidence, Trend, Verdict

PIPED_WIDTH = 100_000  # columns: only a terminal folds and cuts what is printed


class _Console(Console):
    """A console that takes its width from the terminal, if it is one."""

    @property  # type: ignore[misc]
    def size(self) -> ConsoleDimensions:
        size = super().size
        return size if self.is_terminal else ConsoleDimensions(PIPED_WIDTH, size.height)


out = _Console(highlight=False, markup=False, emoji=False)
err = _Console(highlight=False, markup=False, emoji=False, stderr=True)


def error(message: str) -> None:
    """Print an error as one line on stderr."""
    err.print(Text(f"amsgrad-exp: {' '.join(message.split())}"), soft_wrap=True)


def note(message: str) -> None:
    """Print a line on stderr that is not an error."""
    err.print(Text(message), soft_wrap=True)


def run_table(run: Run, label: str | None = None) -> None:
    """Print the result of one run, one fact per line; a label replaces the optimizer's name."""
    summary = run.summary
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("optimizer", Text(label or run.trial.optimizer.label or summary.optimizer))
    table.add_row("problem", _setting(summary))
    reason = f", not compiled: {summary.not_compiled}" if summary.not_compiled else ""
    table.add_row("engine", Text(f"{summary.engine}, {summary.dtype}{reason}"))
    if driven := driven_with(summary):
        table.add_row("driven with", driven)
    if summary.shared_between:
        table.add_row("shared", Text(SHARED[summary.shared_between], "yellow"))
    for name, value in _facts(run):
        table.add_row(name, value)
    table.add_row("directory", Text(str(run.directory)))
    out.print(table)


SHARED = {
    "parameters": "what a parameter gets depends on the other parameters, through a count, a moment or a norm",
    "groups": "what a parameter gets depends on the parameters of other groups",
    "elements": "what an element gets depends on the other elements of its parameter, as with a norm",
}

FORMS = {"named": "the name and ", "module": "a module with ", "use_muon": "a group with use_muon=True and "}


def driven_with(driven: Summary | Driven) -> str:
    """What an optimizer is driven with, if that is more than a tensor of shape (1,) and its gradient; else nothing."""
    parts = ["a closure"] * driven.closure + ["gradients that can be differentiated"] * driven.graph
    if driven.shape == "1x1" or driven.parameters in FORMS:
        parts = [f"{FORMS.get(driven.parameters or '', '')}a parameter of shape {driven.shape}", *parts]
    return ", ".join(parts)


def _facts(run: Run) -> list[tuple[str, Text]]:
    summary, result = run.summary, run.summary.result
    if result is None:
        return [("status", Text(f"{run.status()}{f': {summary.reason}' if summary.reason else ''}", "yellow"))]
    mean_x, regret = (
        f"{result.mean_x:+.6f}{_interval(result.mean_x_halfwidth)}",
        f"{result.regret:.6g}{_interval(result.regret_halfwidth)}",
    )
    explained = " (not positive: no larger total loss than x*)" if result.regret <= 0 else ""
    undecided = result.regret_trend is Trend.UNDECIDED
    because = f", {result.undecided_because(run.trial.problem, schedule_of(run.trial))}" if undecided else ""
    steps = f"{result.steps_simulated:,} simulated, {result.steps_derived:,} derived from a repeated cycle"
    return [
        ("x", Text(f"{result.x:+.6f} after the last step")),
        ("mean x", Text.assemble(f"{mean_x} over the last tenth: ", _said(result.iterate))),
        ("R(T)/T", Text.assemble(f"{regret}: ", *_trend(result), explained, because)),
        ("limit", Text(_limit(result))),
        ("in theory", Text(_predicted(run.trial))),
        ("slope", Text(f"{_slope(result)}  of log R(T)/T against log T, last decade")),
        ("steps", Text(steps)),
        ("time", Text(f"{summary.seconds:.2f} s")),
    ]


def _setting(summary: Summary) -> str:
    seeds = f", mean over {summary.seeds:,} seeds (± 95 %)" if summary.seeds > 1 else ""
    return f"{summary.problem}, {summary.schedule} step size, {summary.steps:,} steps{seeds}"


def _interval(halfwidth: float | None) -> str:
    return "" if halfwidth is None else f" ±{halfwidth:.1g}"


def _said(said: Verdict | Trend) -> Text:
    return Text(*WORDS[said])


def _trend(result: Result) -> tuple[Text, str]:
    """Whether the average regret vanishes, and whether that is proved."""
    return _said(result.regret_trend), ", proof" if result.evidence is Evidence.PROOF else ""


def _limit(result: Result) -> str:
    if result.limit_regret is None:
        return "unknown: the run was not found to repeat itself"
    every = "step" if result.cycle_steps == 1 else f"{result.cycle_steps:,} steps"
    repeats = f"the run repeats every {every} from step {result.cycle_start:,} on"
    return f"R(T)/T tends to {result.limit_regret:.6g} (exact: {repeats})"


def _predicted(trial: Trial) -> str:
    """The limit that the drift predicts, or why it predicts none."""
    try:
        return f"R(T)/T tends to {limit(trial):.6g} for α/√t, and for a small constant step size"
    except NoSteadyState as error:
        return f"unknown: {error}"


def _slope(result: Result) -> str:
    return "n/a" if result.regret_slope is None else f"{result.regret_slope:+.3f}"


def comparison(runs: Mapping[str, Run]) -> None:
    """Print completed runs by label as rows of one table, or one below the other if the terminal is narrow."""
    if out.width < 66:
        for label, run in runs.items():
            run_table(run, label)
        return
    out.print(_setting(next(iter(runs.values())).summary), soft_wrap=True)
    table = _side_by_side(runs, ", ")
    if Measurement.get(out, out.options.update(max_width=1000), table).maximum > out.width:
        table = _side_by_side(runs, ",\n")
    out.print(table)
    for label, run in runs.items():
        if run.summary.shared_between:
            out.print(f"{label}: {SHARED[run.summary.shared_between]}", style="yellow", soft_wrap=True)


def _side_by_side(runs: Mapping[str, Run], separator: str) -> Table:
    """A table with a row for each run; ``separator`` replaces the commas of the labels."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("optimizer", overflow="fold")
    table.add_column("mean x", justify="right", no_wrap=True)
    table.add_column("iterate")
    table.add_column("R(T)/T", justify="right", no_wrap=True)
    table.add_column("slope", justify="right", no_wrap=True)
    table.add_column("regret")
    table.add_column("time", justify="right", no_wrap=True)
    for label, run in runs.items():
        if (result := run.summary.result) is not None:
            table.add_row(
                Text(label.replace(", ", separator)),
                f"{result.mean_x:+.4f}{_interval(result.mean_x_halfwidth)}",
                _said(result.iterate),
                f"{result.regret:.4g}{_interval(result.regret_halfwidth)}",
                _slope(result),
                Text.assemble(*_trend(result)),
                f"{run.summary.seconds:.2f} s",
            )
    return table


STACKED_BELOW = 120  # columns of a terminal


def listing(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows that begin with a name; a narrow terminal shows the other columns below each other."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    if out.width < STACKED_BELOW:
        columns = columns[0], ", ".join(columns[1:])
        rows = [(name, "\n".join(filter(None, facts))) for name, *facts in rows]
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    out.print(table)


def run_listing(runs: Sequence[Run]) -> None:
    """Print one line for each run."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("run", "started", "experiment", "optimizer", "status", "iterate", "regret"):
        table.add_column(title, no_wrap=title in ("run", "status", "iterate", "regret"), overflow="ellipsis")
    for run in runs:
        summary = run.summary
        table.add_row(
            run.run_id[:8],
            f"{summary.started.astimezone():%m-%d %H:%M}",
            run.trial.name,
            run.trial.optimizer.label or summary.optimizer,
            run.status(),
            summary.result.iterate if summary.result else "",
            summary.result.regret_trend if summary.result else "",
        )
    out.print(table)


def describe(verification: Verification) -> str:
    """One line that compares a run with its repetition."""
    largest = ", ".join(f"{column} {difference:.3g}" for column, difference in verification.differences.items())
    changed = "; ".join(f"{what} was {then}, is {now}" for what, then, now in verification.changed)
    changed = f"; {changed}" if changed else ""
    points = f"{verification.points:,} points"
    if verification.first_step is not None:
        return f"different from step {verification.first_step} on: largest differences {largest}{changed}"
    if verification.tolerance == 0:
        return f"identical: {points} run again on the {verification.engine} engine{changed}"
    return (
        f"in agreement: {points} run again on the {verification.engine} engine, largest differences {largest}; "
        f"the tolerance is {verification.tolerance:g} of each column's largest number{changed}"
    )


def plot(trace: Trace) -> None:
    """Print the average regret against t as a text plot."""
    if len(trace) < 2:
        return
    import plotille

    shown = trace.since(int(trace.step[-1]) // 1000).spread(1000)  # the last three decades, without the start
    figure = plotille.Figure()
    figure.with_colors = False
    figure.width, figure.height = max(20, min(out.width, 100) - 30), 12
    figure.x_label, figure.y_label = "log10 t", "R(t)/t"
    figure.register_label_formatter(float, lambda value, chars, delta, left: f"{value:.3g}".ljust(chars))
    if shown.regret.min() >= 0:
        figure.set_y_limits(min_=0)
    log_t = np.log10(shown.step + 1)
    figure.set_x_limits(min_=math.floor(log_t[0]), max_=math.ceil(log_t[-1]))
    figure.plot(log_t, shown.regret)
    shown_as = figure.show()
    try:
        shown_as.encode(out.encoding)
    except UnicodeEncodeError:  # no Braille here
        shown_as = shown_as.translate({0x2800: " "} | dict.fromkeys(range(0x2801, 0x2900), "*"))
    out.print(Text(shown_as), no_wrap=True, crop=False)


ROWS_SHOWN = 100


def sweep_table(sweep: Sweep, results: Results, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Print how many cells settle where for each optimizer, and the cells if there are more than two axes."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("optimizer")
    verdicts = [verdict for verdict in (*Verdict, "failed") if any(verdict in by for by in counts.values())]
    for verdict in verdicts:
        table.add_column(WORDS[verdict][0] if isinstance(verdict, Verdict) else verdict, justify="right")
    for optimizer, by in counts.items():
        table.add_row(optimizer, *(f"{by.get(verdict, 0):,}" for verdict in verdicts))
    shape = " × ".join(f"{name} ({len(values)})" for name, values in sweep.axes.items())
    out.print(f"{shape}, {len(sweep):,} cells")
    out.print(table)
    if len(sweep.axes) <= 2:
        return
    cells = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown = ("optimizer", *sweep.axes, "mean_x", "iterate", "regret", "regret_trend")
    for column in shown:
        cells.add_column(column, overflow="fold")
    for row in itertools.islice(results.rows(), ROWS_SHOWN):
        cells.add_row(*(f"{row[name]:.4g}" if isinstance(row[name], float) else str(row[name]) for name in shown))
    out.print()
    out.print(cells)
    if len(sweep) > ROWS_SHOWN:
        out.print(f"… and {len(sweep) - ROWS_SHOWN:,} more: --export csv writes all of them")


def sweep_listing(sweeps: Sequence[Kept]) -> None:
    """Print one line for each sweep."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("sweep", "started", "experiment", "optimizers", "axes", "cells", "status"):
        table.add_column(title, no_wrap=title in ("sweep", "started", "cells", "status"), overflow="fold")
    for kept in sweeps:
        table.add_row(
            kept.directory.name[:8],
            f"{kept.begun.astimezone():%m-%d %H:%M}",
            kept.sweep.name,
            ", ".join(kept.optimizers),
            " × ".join(f"{name} {size}" for name, size in zip(kept.sweep.columns, kept.sweep.shape[1:], strict=True)),
            f"{kept.done:,}/{len(kept.sweep):,}",
            kept.status,
        )
    out.print(table)


def describe_sweep(verification: Verified) -> str:
    """One line about a successful verification of a sweep."""
    checked = "every checksum is right" if verification.checksums else "rows of 0.1.0 have no checksums"
    again = f"{verification.recomputed:,} computed again with the same bits"
    return f"identical: {verification.rows:,} of {verification.cells:,} cells done, {checked}, {again}"


def boundary(problem: str, optimizer: str, beta1: float, regions: Sequence[tuple[float, float, str]]) -> None:
    """Print the intervals of β2 and where the iterates go in each."""
    out.print(f"{optimizer} on {problem}, beta1 = {beta1:g}, small constant step size:")
    for low, high, end in regions:
        out.print(Text.assemble(f"  {low:.8g} < beta2 < {high:.8g}  to the ", _said(Verdict(end))))
    if len(regions) == 1:
        out.print("  no critical beta2")
