"""Tests that the digest of a function changes with every edit that may change a result, and with no other edit."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import amsgrad_exp
from amsgrad_exp.code import digest, functions
from amsgrad_exp.rules import OPTIMIZERS

SOURCE = '''
"""A module."""
import math
import numpy as np
from typing import NamedTuple

FACTORS = (0.5, 0.25)

class Hyper(NamedTuple):
    """Two numbers."""
    lr: float
    beta: float

def unused(x):
    return x

def helper(x: float, scale=2.0) -> float:
    """Help."""
    return x * scale + FACTORS[0]

def make(power):
    def update(x, h=Hyper(1.0, 0.0)):
        """Move."""
        return [helper(y) ** power for y in (x, math.pi, h.lr)]
    return update

update = make(2)
'''


def _of(source: str) -> Any:
    namespace: dict[str, Any] = {"__name__": "somebodys_rule"}
    exec(source, namespace)
    return namespace["update"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Help."""', '"""Help more."""'),
        ('"""Move."""', "# Move."),
        ('"""Two numbers."""', '"""2."""'),
        ('"""A module."""', '"""A module.\n\n\n"""'),
        ("x: float", "x: int"),
        ("    return x\n", "    return -x\n"),
        ("unused(x)", "unused_too(x)"),
    ],
)
def test_the_digest_ignores_edits_that_change_no_result(old: str, new: str) -> None:
    assert old in SOURCE
    assert digest(_of(SOURCE.replace(old, new))) == digest(_of(SOURCE))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x * scale", "scale * x"),
        ("x * scale", "x - scale"),
        ("scale=2.0", "scale=2"),
        ("0.5, 0.25", "-0.5, 0.25"),
        ("make(2)", "make(3)"),
        ("Hyper(1.0, 0.0)", "Hyper(1.0, -0.0)"),
        ("math.pi", "math.e"),
        ("h.lr", "h.beta"),
        ("    lr: float\n    beta: float", "    beta: float\n    lr: float"),
    ],
)
def test_the_digest_changes_with_every_other_edit(old: str, new: str) -> None:
    assert old in SOURCE
    assert digest(_of(SOURCE.replace(old, new))) != digest(_of(SOURCE))


def test_digests_of_different_values_differ() -> None:
    plain: list[Any] = [0, 0.0, -0.0, False, None, "0", b"0", (), (0,), [0], {"0": 0}, ((0,), 0), (0, (0,)), int]
    values = [*plain, np.zeros(1), np.zeros(2), np.zeros(1, np.float32), np.float64(0), frozenset({0, 1}), np.sqrt]
    assert len({digest(value) for value in values}) == len(values)


def test_functions_that_call_each_other_have_a_digest() -> None:
    source = "def other(x):\n    return update(x)\ndef update(x):\n    return other(x)\n"
    assert len(functions(_of(source))) == 2
    assert digest(_of(source)) != digest(_of(source.replace("return update(x)", "return 2 * update(x)")))


def test_a_value_that_cannot_be_compared_has_no_digest() -> None:
    with pytest.raises(TypeError, match="no digest of a object"):
        digest(object())


def test_digests_of_different_rules_differ() -> None:
    rules = {OPTIMIZERS[name].rule(OPTIMIZERS[name].options()).update for name in OPTIMIZERS}
    assert len({digest(update) for update in rules}) == len(rules)


RUN = """
import sys
from amsgrad_exp.engines import build
from amsgrad_exp.spec.read import resolve_trial
for name in sys.argv[1:]:
    build(resolve_trial({"problem": "online", "optimizers": [name], "steps": 9, "engine": "compiled"})).advance(9, 1)
assert "torch" not in sys.modules
"""


def test_only_loops_that_an_edit_concerns_are_compiled_again(tmp_path: Path) -> None:
    """On a copy of the package, by which files of the cache are written."""
    shutil.copytree(Path(amsgrad_exp.__file__).parent, tmp_path / "amsgrad_exp", ignore=shutil.ignore_patterns("*.pyc"))
    cache, rules = tmp_path / "cache", tmp_path / "amsgrad_exp" / "rules"

    def compiled(*names: str) -> int:
        """Run these optimizers in a new process, and return how many loops were compiled."""
        before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.nbc")}
        environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(tmp_path)}
        subprocess.run([sys.executable, "-c", RUN, *names], env=environment, cwd=tmp_path, check=True)
        return sum(path.stat().st_mtime_ns != before.get(path) for path in cache.rglob("*.nbc"))

    def edit(path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    assert compiled("adam", "sgd") > 2
    folders = (tmp_path / "amsgrad_exp" / name for name in ("rules", "problems", "engines"))
    for path in (path for folder in folders for path in folder.glob("*.py")):
        path.write_text(
            "# A comment.\n\n" + re.sub('^( *)"""(?=.)', r'\1"""In other words: ', path.read_text(), flags=re.M)
        )
    assert compiled("adam", "sgd") == 0
    edit(rules / "moments.py", "h.one_minus_beta2 * g * g", "h.one_minus_beta2 * (g * g)")
    assert compiled("sgd") == 0
    assert compiled("adam") > 0
