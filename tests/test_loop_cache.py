"""Tests the cache of compiled loops: damaged files are compiled again, and other processes compile the same loops."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numba
import numpy as np
import pytest

from amsgrad_exp.engines import loop_cache
from amsgrad_exp.engines.compiled import CompiledBatch
from amsgrad_exp.engines.loop_cache import compilers, opened
from amsgrad_exp.engines.loops import compile_loop, make_loop
from amsgrad_exp.rules import rule_of
from amsgrad_exp.spec.read import resolve_trial

numbers_of_gradients = iter(range(21, 99))  # each number makes another rule, whose loop is not in any cache


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))  # Numba reads it again when the environment has changed
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(loop_cache, "FEW", 0)
    yield tmp_path
    assert opened() is None


def added_up() -> tuple[int, float]:
    """Make and call a loop; return how often it had to be compiled, and its result."""

    def loop(numbers: np.ndarray) -> float:
        total = 0.0
        for number in numbers:
            total += number
        return total

    compiled = compile_loop(loop)
    total = compiled(np.arange(5.0))
    return sum(compiled.stats.cache_misses.values()), total  # type: ignore[attr-defined]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def put_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere/at/all")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(b"\x80\x04garbage" * 99),
    "valid pickle": lambda path: path.write_bytes(pickle.dumps("something else") * 2),
    "flipped": flip,
    "directory": put_directory,
    "broken link": put_broken_link,
    "forbidden": lambda path: path.chmod(0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_loop_whose_file_cannot_be_read_is_compiled_again(cache: Path, damage: str) -> None:
    if damage == "forbidden" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    assert [added_up() for _ in range(2)] == [(1, 10.0), (0, 10.0)]
    for path in [path for path in cache.rglob("*") if path.is_file()]:
        DAMAGES[damage](path)
    assert added_up() == (1, 10.0)
    assert added_up() == (int(damage == "directory"), 10.0)
    assert not list(cache.rglob("*.tmp.*"))


def test_a_missing_cache_directory_is_no_error(cache: Path) -> None:
    assert added_up() == (1, 10.0)
    (place,) = cache.iterdir()
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    place.write_text("a file where the directory was")
    assert added_up()[1] == 10.0  # compiled again, or found next to this file, where Numba looks as well


def advanced(n: int) -> tuple[CompiledBatch, int]:
    """Run AdaShift with n gradients; return the batch, and how often its loop was compiled in this process."""
    optimizer = {"name": "adashift", "options": {"n": n}}
    trial = resolve_trial({"problem": "online", "optimizers": [optimizer], "steps": 50, "log_every": 1})
    batch = CompiledBatch([trial])
    batch.advance(50, 1)
    problem = trial.problem
    loop = make_loop(rule_of(trial.optimizer), problem.loss, problem.slope, per_step=1, width=1)
    return batch, sum(loop.dispatcher.stats.cache_misses.values())


def test_a_loop_compiled_in_another_process_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    n = next(numbers_of_gradients)
    with compilers(2):
        there, misses = advanced(n)
        made = opened()
        assert made is not None
        assert (made.compiled, misses) == (2, 0)
        make_loop.cache_clear()  # type: ignore[attr-defined]
        assert advanced(n)[1] == 0
        assert made.compiled == 2
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(Path(os.environ["NUMBA_CACHE_DIR"]) / "other"))
    make_loop.cache_clear()  # type: ignore[attr-defined]
    here, misses = advanced(n)
    assert misses == 1
    assert np.array_equal(here.state, there.state)


@pytest.mark.parametrize(
    "serve",
    [
        "import sys; sys.exit(1)",
        "print('-', flush=True); input()",
        "not Python",
        f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})",
    ],
)
def test_a_loop_is_compiled_here_if_the_other_process_fails(serve: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_cache, "SERVE", serve)
    with compilers(2):
        _, misses = advanced(next(numbers_of_gradients))
        made = opened()
        assert made is not None
        assert (made.compiled, misses) == (0, 1)


def test_a_loop_is_compiled_here_if_no_process_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent")
    with compilers(2):
        assert advanced(next(numbers_of_gradients))[1] == 1


def test_a_single_thread_compiles_loops_itself() -> None:
    with compilers(1):
        assert opened() is None
        assert advanced(next(numbers_of_gradients))[1] == 1


def test_loops_are_compiled_here_after_the_processes_were_closed() -> None:
    with compilers(2):
        made = opened()
        assert made is not None
        made.close()
        assert advanced(next(numbers_of_gradients))[1] == 1
