"""Prints runs, bounds and lists to the terminal as tables, plots and lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console, ConsoleDimensions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from amsgrad_exp.bounds import Bounds
from amsgrad_exp.output import words
from amsgrad_exp.records.run import Run
from amsgrad_exp.trace import Trace
from amsgrad_exp.verdict import WORDS, Evidence, Trend, Verdict

PIPED_WIDTH = 100_000  # columns: only a terminal folds and cuts what is printed
STACKED_BELOW = 120  # columns of a terminal in which the rows of a list are one line each
# Columns of lists that are not wrapped.
UNWRAPPED = ("run", "sweep", "attack", "started", "cells", "status", "iterate", "regret", "problems")
FASTEST = 0.75  # a larger power of T is shown in red: 0.5, √T, plus the verdict's margin of 0.25


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


def columns(*titles: str, gap: int = 2) -> Table:
    """A table without lines, with these columns."""
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def facts(said: Mapping[str, Text | str]) -> None:
    """Print facts by name, one per line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, fact in said.items():
        table.add_row(name, fact)
    out.print(table)


def coloured(said: words.Said) -> Text:
    """A sentence whose verdicts have their colours."""
    return Text.assemble(*(WORDS[part] if isinstance(part, Verdict | Trend) else part for part in said))


def run_table(run: Run, label: str | None = None) -> None:
    """Print the result of one run, one fact per line; a label replaces the optimizer's name."""
    summary = run.summary
    reason = f", not compiled: {summary.not_compiled}" if summary.not_compiled else ""
    driven, shared = words.driven_with(summary), summary.shared_between
    said = {name: coloured(fact) for name, fact in words.verdict(run).items()}
    if "status" in said:
        said["status"].stylize("yellow")
    else:
        said["time"] = Text(f"{summary.seconds:.2f} s")
    facts(
        {
            "optimizer": Text(label or run.trial.optimizer.label or summary.optimizer),
            "settings": Text(words.settings(run.trial)),
            "problem": f"{words.problem(run.trial)}, {words.setting(summary)}",
            "engine": Text(f"{summary.engine}, {summary.dtype}{reason}"),
            **({"needs": driven} if driven else {}),
            **({"shared": Text(words.SHARED[shared], "yellow")} if shared else {}),
            **said,
            "directory": Text(str(run.directory)),
        }
    )


def comparison(runs: Mapping[str, Run]) -> None:
    """Print completed runs by label as rows of one table, or one below the other if the terminal is narrow."""
    if out.width < 66:
        for label, run in runs.items():
            run_table(run, label)
        return
    first = next(iter(runs.values())).summary
    out.print(f"{first.problem}, {words.setting(first)}", soft_wrap=True)
    table = _side_by_side(runs, ", ")
    if Measurement.get(out, out.options.update(max_width=1000), table).maximum > out.width:
        table = _side_by_side(runs, ",\n")
    out.print(table)
    for label, run in runs.items():
        if run.summary.shared_between:
            out.print(f"{label}: {words.SHARED[run.summary.shared_between]}", style="yellow", soft_wrap=True)


def _side_by_side(runs: Mapping[str, Run], separator: str) -> Table:
    """A table with a row for each run; ``separator`` replaces the commas of the labels."""
    table = columns("optimizer")
    for title in ("mean x", "iterate", "R(T)/T", "slope", "regret", "time"):
        is_number = title not in ("iterate", "regret")
        table.add_column(title, justify="right" if is_number else "left", no_wrap=is_number)
    for label, run in runs.items():
        if (result := run.summary.result) is not None:
            table.add_row(
                Text(label.replace(", ", separator)),
                f"{result.mean_x:+.4f}{words.interval(result.mean_x_halfwidth)}",
                coloured((result.iterate,)),
                f"{result.regret:.4g}{words.interval(result.regret_halfwidth)}",
                words.slope(result.regret_slope),
                coloured((result.regret_trend, ", proof" if result.evidence is Evidence.PROOF else "")),
                f"{run.summary.seconds:.2f} s",
            )
    return table


def listing(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows that begin with a name; a narrow terminal shows the other columns below each other."""
    table = columns()
    if out.width < STACKED_BELOW:
        titles = titles[0], ", ".join(titles[1:])
        rows = [(name, "\n".join(filter(None, others))) for name, *others in rows]
    for number, column in enumerate(titles):
        table.add_column(column, no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    out.print(table)


def record_listing(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print one line for each record, if the terminal is wide enough."""
    table = columns(gap=1)
    for title in titles:
        table.add_column(title, no_wrap=title in UNWRAPPED, overflow="fold")
    for row in rows:
        table.add_row(*row)
    out.print(table)


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


def bounds_table(bounds: Mapping[str, Bounds]) -> None:
    """Print each optimizer's bound on R(T)/T and its terms, with the powers of T at which the terms of R(T) grow."""
    out.print("bound on R(T)/T = end + distance + moves (docs/method.md); ~T^p: that term of R(T) grows like T^p")
    table = columns("optimizer")
    for title in ("bound", "end", "distance", "moves", "published"):
        table.add_column(title, justify="right")
    for label, known in bounds.items():
        steps, growth = int(known.trajectory.step[-1]) + 1, known.trajectory.growth()
        table.add_row(
            Text(label),
            f"{known.trajectory.total[-1] / steps:.4g}",
            *(_term(float(term[-1]) / steps, growth.get(name)) for name, term in known.trajectory.terms.items()),
            f"{known.published.total[-1] / steps:.4g}" if known.published else "–",
        )
    out.print(table)


def _term(average: float, growth: float | None) -> Text:
    """A term divided by T, and the growth of the term: red if it is of a higher order than √T."""
    if growth is None:
        return Text(f"{average:.2g}")
    return Text.assemble(f"{average:.2g} ", (f"~T^{growth:.2f}", "red" if growth > FASTEST else "green"))


def boundary(problem: str, optimizer: str, beta1: float, regions: Sequence[tuple[float, float, str]]) -> None:
    """Print the intervals of β2 and where the iterates go in each."""
    out.print(f"{optimizer} on {problem}, beta1 = {beta1:g}, small constant step size:")
    if len(regions) == 1:
        out.print(Text.assemble("  every beta2  goes to the ", coloured((Verdict(regions[0][2]),))))
        return
    for low, high, end in regions:
        out.print(Text.assemble(f"  {low:.8g} < beta2 < {high:.8g}  goes to the ", coloured((Verdict(end),))))
