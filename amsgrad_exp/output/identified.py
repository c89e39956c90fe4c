"""Prints the answer of an identification."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from amsgrad_exp.identification.answer import Answer
from amsgrad_exp.identification.known_forms import OF_THE_WHOLE, SENTENCES
from amsgrad_exp.output import console
from amsgrad_exp.spec.labels import SYMBOLS

UNKNOWN = "in a way that is not known here"


def describe(answer: Answer) -> None:
    """Print an answer, one fact per line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("optimizer", Text(answer.optimizer))
    for name, value in _facts(answer):
        table.add_row(name, value)
    console.out.print(table)


def departs(answer: Answer) -> str:
    """The departures in words."""
    return "; ".join(SENTENCES[code] for code in answer.departures) or UNKNOWN


def closest(answer: Answer) -> str:
    """The closest rule, with its options that are not defaults."""
    name, _, options = answer.closest.partition(":")
    if any(code.startswith("eps_") for code in answer.departures):  # which say where it is
        options = options.replace("optimized_update=false", "").strip(",")
    options = options.replace("optimized_update=false", "ε on the root of the corrected v").replace(",", ", ")
    return f"{name} with {options}" if options else name


def _facts(answer: Answer) -> list[tuple[str, Text]]:
    shown = {OF_THE_WHOLE.get(code) for code in answer.departures}
    alike = [name for name in answer.run if name not in shown]
    over = f"{len(alike)} probes, {sum(answer.steps[name] for name in alike):,} steps"
    rough = " (as far as float32 can tell)" if answer.single else ""
    facts = []
    if answer.matches:
        facts.append(("matches", Text.assemble((closest(answer), "green"), rough)))
        facts.append(("agreement", Text(f"largest relative difference {answer.largest:.0e} over {over}")))
    else:
        facts.append(("closest to", Text(closest(answer))))
        facts.append(("departs", Text.assemble((departs(answer), "yellow"), rough if answer.explained else "")))
    if answer.first:
        where = f'step {answer.first["step"]:,} of probe "{answer.first["probe"]}"'
        moved, expected = (_number(answer.first[key]) for key in ("moved", "expected"))
        facts.append(("first seen", Text(f"{where}: moved {moved}, {answer.form.name} moves {expected}")))
    if answer.explained and not answer.matches:
        facts.append(("agreement", Text(f"with that, largest relative difference {answer.rest:.0e} over {over}")))
    if missing := [name for name in answer.steps if name not in answer.run]:
        facts.append(("not run", Text(", ".join(missing))))
    if answer.assumed:
        said = ", ".join(f"{SYMBOLS.get(name, name)} = {value:g}" for name, value in answer.assumed.items())
        facts.append(("assumed", Text(f"{said}, which its constructor does not take")))
    return facts


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−", 1) if value < 0 else f"{value:.3g}"
