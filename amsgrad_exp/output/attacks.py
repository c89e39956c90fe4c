"""Prints the outcome of an attack."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from amsgrad_exp.attacks.result import Attack, Counterexample
from amsgrad_exp.output import console, words
from amsgrad_exp.records.summary import Summary


def describe(attack: Attack, files: Sequence[Path] = ()) -> None:
    """Print the outcome of an attack, one fact per line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("optimizer", Text(attack.optimizer))
    found, counterexample = attack.found, attack.counterexample
    for name, value in _facts(attack, counterexample) if counterexample else [("verdict", _survived(attack))]:
        table.add_row(name, value)
    if attack.shared_between:
        table.add_row("shared", Text(words.SHARED[attack.shared_between], "yellow"))
    smallest = f"; the smallest period on which it falls is {attack.smallest_period}" if found.falls else ""
    table.add_row(
        "searched",
        f"{found.problems:,} problems: {found.falls:,} fall, {found.survives:,} survive, "
        f"{found.unsettled:,} unsettled{smallest}",
    )
    table.add_row("time", f"{attack.seconds:.1f} s, including {attack.search_seconds:.1f} s of search and shrinking")
    console.out.print(table)
    if counterexample:
        console.out.print("repeat amsgrad-exp run --config", shlex.quote(str(counterexample.config)), soft_wrap=True)
    else:
        console.out.print("stored in", attack.directory, soft_wrap=True)
    if files:
        console.out.print("figure", *files, soft_wrap=True)


def _survived(attack: Attack) -> Text:
    if not attack.finished:
        cut = "interrupted" if attack.interrupted else "out of time"
        return Text(f"not finished, {cut}: {attack.found.problems:,} of {attack.total:,} problems tried", "yellow")
    if not attack.settled:
        return Text("no run settled, so the search gives no answer", "yellow")
    return Text.assemble(("survives", "green"), ": no counterexample found (this is not a proof)")


def _facts(attack: Attack, counterexample: Counterexample) -> list[tuple[str, Text]]:
    worst = f"x = {-counterexample.optimum:+g}"
    if not counterexample.confirmed:
        why = "the confirmation was interrupted" if attack.interrupted else "not confirmed"
        return [
            ("suspect", Text(counterexample.words)),
            ("verdict", Text(f"goes to the worst point, {worst}, in the search; {why}", "yellow")),
        ]
    summaries = [run.summary for run in counterexample.confirmation.runs]
    facts = [
        ("counterexample", Text(counterexample.words)),
        ("verdict", Text.assemble(("fails", "red"), f": goes to the worst point, {worst}, and stays there")),
        ("confirmed", Text(_confirmed(summaries))),
        ("R(T)/T", Text(f"{counterexample.regret:.4g} with step sizes α/√t, T = {_longest(summaries):,}")),
    ]
    if counterexample.limit_regret is not None:
        facts.append(("proof", Text(f"R(T)/T tends to {counterexample.limit_regret:.6g} with a constant step size")))
    return facts


def _longest(summaries: Sequence[Summary]) -> int:
    return max(summary.steps for summary in summaries if summary.schedule == "inv-sqrt")


def _confirmed(summaries: Sequence[Summary]) -> str:
    engines = " and ".join(dict.fromkeys(summary.engine for summary in summaries))
    dtypes = " and ".join(dict.fromkeys(summary.dtype for summary in summaries))
    return f"by {len(summaries)} runs: from x*, the middle and the worst point, α/√t and constant, {engines}, {dtypes}"
