"""docs/field.md is what docs/field.py writes; what a gauntlet finds is put in words."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from amsgrad_exp.problems import PROBLEMS
from amsgrad_exp.rules import OPTIMIZERS

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture
def field(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DOCS))
    for name in ("field", "literature", "precision"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import field

    return field


def test_the_document_says_what_the_registries_say(field: ModuleType) -> None:
    """Where this fails, what an optimizer or a problem says of itself has changed: make field."""
    document = (DOCS / "field.md").read_text(encoding="utf-8")
    for name, known in OPTIMIZERS.items():
        for line in field.optimizer(name, known, []).splitlines():
            assert line in document
    for name, kind in PROBLEMS.items():
        assert field.problem(name, kind) in document


def test_the_readme_names_them_all() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in (*OPTIMIZERS, *PROBLEMS))


def test_what_the_gauntlet_found_is_said_by_where_iterates_settle(field: ModuleType) -> None:
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
