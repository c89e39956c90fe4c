"""Tests that the generated documents are up to date, and that the examples and the commands in the documents run."""

import re
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from amsgrad_exp.engines import build
from amsgrad_exp.identification import probes
from amsgrad_exp.identification.known_forms import CODES, OF_THE_WHOLE, SENTENCES, described, forms
from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.read import resolve_trial
from tests.conftest import CommandLine

ROOT = Path(__file__).parent.parent
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"


@pytest.fixture
def field(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """docs/field.py."""
    monkeypatch.syspath_prepend(str(DOCS))
    for name in ("field", "literature", "precision"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import field

    return field


def test_field_md_is_up_to_date(field: ModuleType) -> None:
    """If this fails, the description of an optimizer or of a problem has changed: make field."""
    document = (DOCS / "field.md").read_text(encoding="utf-8")
    for name, known in OPTIMIZERS.items():
        for line in field.optimizer(name, known, []).splitlines():
            assert line in document
    for name, kind in PROBLEMS.items():
        assert field.problem(name, kind) in document


def test_field_md_lists_problems_by_where_iterates_settle(field: ModuleType) -> None:
    shared: dict[str, Any] = {"optimizer": "adam", "schedule": "constant", "settings": "stated"}
    cells = [
        shared | {"problem": "online", "iterate": "worst", "evidence": "proof"},
        shared | {"problem": "stochastic", "iterate": "worst", "evidence": "trend"},
        shared | {"problem": "bock-weiss", "iterate": "optimum", "evidence": "trend"},
        shared | {"problem": "components", "iterate": None, "evidence": None, "settings": "defaults"},
    ]
    text = field.optimizer("adam", OPTIMIZERS["adam"], cells)
    assert text.count("- *Claim.* Regret bound, Kingma and Ba 2015, Theorem 4.1: ") == 1
    assert "| settings | step size | optimum | worst | failed |" in text
    assert "| stated | constant | bock-weiss | online\\*, stochastic |  |" in text
    assert "| defaults | constant |  |  | components |" in text


def test_the_readme_names_every_optimizer_and_problem() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in (*OPTIMIZERS, *PROBLEMS))


def test_identify_md_lists_all_probes_departures_and_vectors() -> None:
    page = (DOCS / "identify.md").read_text(encoding="utf-8")
    for probe in probes.probes():
        assert f"| {probe.name} | {probe.steps:,} | {probe.about} |" in page
    for code in (*CODES, *OF_THE_WHOLE):
        assert f"| `{code}` | {SENTENCES[code]} |" in page
    names = {f"{described(form).translate(str.maketrans(':=,', '---'))}.csv" for form in forms()}
    files = list((DOCS / "vectors").iterdir())
    assert {file.name for file in files} == names
    assert sum(file.stat().st_size for file in files) <= 1_000_000


def test_optimizers_md_is_up_to_date_and_its_example_runs_with_every_class() -> None:
    """If this fails, a class has changed: make optimizers."""
    document = (DOCS / "optimizers.md").read_text(encoding="utf-8")
    assert document == runpy.run_path(str(DOCS / "optimizers.py"))["document"]()
    (example,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    for known in OPTIMIZERS.values():
        model = torch.nn.Linear(2, 1)
        names = {"model": model, "loss": model(torch.ones(2)).square().sum()}
        exec(example.replace("AMSGrad", known.title), names)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("amsgrad", [False, True], ids=["adam", "amsgrad"])
def test_both_engines_agree_with_the_reference_loop(amsgrad: bool, dtype: str) -> None:
    experiment = runpy.run_path(str(EXAMPLES / "reference.py"))["experiment"]
    steps = 2_000
    expected = np.array(list(experiment(amsgrad=amsgrad, steps=steps, dtype=getattr(torch, dtype))))
    imported = {"name": "torch.optim.Adam", "options": {"amsgrad": amsgrad}}
    own_rule = {"name": "amsgrad" if amsgrad else "adam"}
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    for engine, optimizer, atol in (("torch", imported, 0.0), ("compiled", own_rule, tolerance)):
        given = {"optimizers": [optimizer], "engine": engine, "steps": steps, "dtype": dtype, "log_every": 1}
        trace = build(resolve_trial(given)).advance(steps, 1).runs(0)
        np.testing.assert_allclose(np.stack([trace.x, trace.regret], axis=1), expected, rtol=0, atol=atol)


def test_the_commands_for_a_users_optimizer_run(in_process: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README and examples/my_optimizer.py show the same commands; here they have fewer steps and problems."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(probes, "LONG", 80)
    monkeypatch.setattr(probes, "EVERY", 40)
    expected = {
        "run": ("1,000 simulated", ""),
        "identify": ("ε is inside the root", ""),
        "attack": ("40 problems", "--problems 40 --max-period 4 --no-figure"),
        "gauntlet": ("online", "--problem online --schedule constant --settings stated --no-figure"),
    }
    commands = re.findall(r"^ +amsgrad-exp (.+)$", (EXAMPLES / "my_optimizer.py").read_text(), re.MULTILINE)
    readme = (ROOT / "README.md").read_text()
    assert commands == re.findall(r"^\$ amsgrad-exp (.+my_optimizer.+?)  +#", readme, re.MULTILINE)
    assert [command.split()[0] for command in commands] == list(expected)
    for command, (text, smaller) in zip(commands, expected.values(), strict=True):
        done = in_process(*command.replace("1e5", "1e3").split(), *smaller.split())
        assert (done.returncode, text in done.stdout) == (0, True), done
