"""The cache of compiled loops: whatever is wrong with one of its files, the loop is compiled again."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pytest

from amsgrad_exp.engines.loops import compile_loop


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _garbage(path: Path) -> None:
    path.write_bytes(b"\x80\x04garbage" * 99)


def _valid_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps("something else") * 2)


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _a_broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere/at/all")


def _forbidden(path: Path) -> None:
    path.chmod(0)


def _added_up() -> tuple[int, float]:
    """How often a loop is compiled, here in a process that has not compiled it yet, and what it adds up to."""

    def loop(numbers: np.ndarray) -> float:
        total = 0.0
        for number in numbers:
            total += number
        return total

    compiled = compile_loop(loop)
    total = compiled(np.arange(5.0))
    return sum(compiled.stats.cache_misses.values()), total  # type: ignore[attr-defined]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))  # which Numba reads again when its environment has changed
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert _added_up() == (1, 10.0)
    assert _added_up() == (0, 10.0)
    return tmp_path


@pytest.mark.parametrize(
    "damage", [_empty, _cut, _garbage, _valid_pickle, _flipped, _a_directory, _a_broken_link, _forbidden]
)
def test_a_file_that_cannot_be_read_is_compiled_again(cache: Path, damage: Callable[[Path], None]) -> None:
    if damage is _forbidden and os.geteuid() == 0:
        pytest.skip("root may read everything")
    kept = [path for path in cache.rglob("*") if path.is_file()]
    for path in kept:
        damage(path)
    assert _added_up() == (1, 10.0)
    repairs = damage is not _a_directory
    assert _added_up() == (0 if repairs else 1, 10.0)
    assert not list(cache.rglob("*.tmp.*"))


def test_a_place_that_vanishes_or_fills_up_stops_nothing(cache: Path) -> None:
    for path in cache.rglob("*"):
        if path.is_file():
            path.unlink()
    (place,) = cache.iterdir()
    place.rmdir()
    place.write_text("a file where the directory was")
    assert _added_up()[1] == 10.0  # compiled, or found beside this file, where Numba looks next
