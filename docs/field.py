"""Write docs/field.md: ``make field``, or, with what ``gauntlet --json`` printed, python docs/field.py CELLS.json."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from literature import corrections
from precision import precisions

from amsgrad_exp.output.catalogue import defaults
from amsgrad_exp.problems import PROBLEMS, Problem
from amsgrad_exp.rules import OPTIMIZERS, Optimizer
from amsgrad_exp.rules.claims import Claim, Kind
from amsgrad_exp.spec.labels import SYMBOLS

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs"

INTRODUCTION = """\
# Optimizers and problems

Every optimizer and problem of `amsgrad-exp`, and the result of each optimizer on each problem. `make field` writes this
document: no number here is typed by hand, except those that others published.

Notation: g_t is the gradient at x_t, α_t the step size; m_0 = v_0 = 0 unless stated otherwise; after every step x is
clamped to the problem's interval. In an optimizer's rule t counts steps from 1, as in its paper. In a problem's loss
f_t it counts from 0: the first loss of `online` is f_0. Options are shown as `name=value`, which is how `--option`
takes them, with their defaults; other choices are in parentheses. Each rule agrees with an independent implementation,
step by step, to 10⁻¹² in double precision (`make agreement`)."""

FOUND = """\
*Claim* is what was published about convergence. The table of each optimizer is the result of `amsgrad-exp gauntlet`: on
which problems the mean iterate over the last tenth of 10⁷ steps is at the optimum, between, at the worst point, or
farther from x\\* than at the start (*away*). Runs in which x or the regret overflowed have *failed*. The settings are
those of each problem's source (*stated*) or the optimizer's own (*defaults*; [method.md](method.md#the-gauntlet)). An
asterisk marks a proof: the run repeats itself bit for bit, so its limit is known exactly."""

STEP_SIZES = {"constant": "constant", "inv-sqrt": "α/√t"}
PLACES = ("optimum", "between", "worst", "away", "failed")

Cells = Sequence[Mapping[str, Any]]


def main() -> None:
    """Write the document."""
    cells = json.loads(Path(sys.argv[1]).read_bytes() if sys.argv[1:] else gauntlet())["cells"]
    parts = [INTRODUCTION, "## Optimizers", *([FOUND] if cells else [])]
    for name, known in OPTIMIZERS.items():
        parts.append(optimizer(name, known, [cell for cell in cells if base(cell) == name]))
    parts += ["## Problems", *(problem(name, kind) for name, kind in PROBLEMS.items())]
    parts += ["## What half precision does", *precisions()]
    parts += ["## What the literature says, run again", *corrections()]
    (HERE / "field.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def base(cell: Mapping[str, Any]) -> str:
    """The name of a cell's optimizer, without the options of a form of it."""
    return str(cell["optimizer"]).partition(":")[0]


def gauntlet() -> bytes:
    """The gauntlet's cells, as its command prints them."""
    command = [sys.executable, "-m", "amsgrad_exp", "gauntlet", "--json"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def optimizer(name: str, known: Optimizer, cells: Cells) -> str:
    """One optimizer: source, settings, rule, claim, remarks and results."""
    settings = ", ".join(f"{SYMBOLS[setting]} = {value:g}" for setting, value in known.defaults.items())
    options = defaults(known.options)
    lines = [f"### {known.title}", "", f"`{name}`: {known.summary}. {known.source}. Published settings: {settings}"]
    lines[-1] += f"; options: `{options}`." if options else "."
    lines += ["", "```text", *known.lines, "```", ""]
    lines += [f"- *Claim.* {claimed(known.claim)}"]
    lines += [f"- {remark}" for remark in known.remarks]
    return escaped("\n".join([*lines, *found(cells)]).rstrip())


def claimed(claim: Claim) -> str:
    """A claim in one line."""
    if claim.kind is Kind.NONE:
        return "None made."
    refuted = f" Refuted: {claim.refuted}." if claim.refuted else ""
    return f"{claim.kind.capitalize()}, {claim.theorem}: {claim.conditions}.{refuted}"


def found(cells: Cells) -> Iterator[str]:
    """A table of the problems by where the iterates settle, with a row for each choice of settings and step sizes."""
    if not cells:
        return
    settled: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        mark = "\\*" if cell["evidence"] == "proof" else ""
        form = cell["optimizer"].partition(":")[2]
        row = " | ".join([cell["settings"] + (f", `{form}`" if form else ""), STEP_SIZES[cell["schedule"]]])
        settled[row][cell["iterate"] or "failed"].append(cell["problem"] + mark)
    columns = [where for where in PLACES if any(where in row for row in settled.values())]
    yield from ("", f"| settings | step size | {' | '.join(columns)} |", f"|{' --- |' * (2 + len(columns))}")
    for row, by in settled.items():
        yield f"| {row} | {' | '.join(', '.join(by.get(where, [])) for where in columns)} |"


def problem(name: str, kind: type[Problem]) -> str:
    """One problem: source, formula and shipped configurations."""
    first, *rest = [" ".join(part.split()) for part in (inspect.getdoc(kind) or "").split("\n\n")]
    formula = [part for part in rest if not part.startswith("Attributes:")]
    figures = [
        f"- {text} `amsgrad-exp {command} --config configs/{path.name}`" for path, text, command in configs(name)
    ]
    head = f"`{name}`, {kind.source}. Constants: `{defaults(kind)}`."
    parts = [f"### {name}", f"{first} {head}", *formula, *(["\n".join(figures)] if figures else [])]
    return escaped("\n\n".join(parts))


def configs(name: str) -> Iterator[tuple[Path, str, str]]:
    """The shipped configurations of a problem: file, comment, and the command that runs it."""
    for path in sorted(CONFIGS.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        data = yaml.safe_load(text)
        written = data["problem"]
        if name == (written if isinstance(written, str) else written["name"]):
            comment = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
            yield path, " ".join(comment), "sweep" if "grid" in data else "compare"


def escaped(text: str) -> str:
    """Text whose x* Markdown does not read as emphasis."""
    return text.replace("x*", "x\\*")


if __name__ == "__main__":
    main()
