"""Runs of a torch optimizer as elements of one parameter, and sweeps of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amsgrad_exp.driver.chunk import Chunk
from amsgrad_exp.driver.drive import drive
from amsgrad_exp.driver.lanes import advance_torch_lanes
from amsgrad_exp.driver.result import summarize
from amsgrad_exp.engines import build
from amsgrad_exp.engines.seeds import one_each
from amsgrad_exp.engines.torch_runs import WIDTH, lane_key
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.records.verify import CROSS_ENGINE_TOLERANCE
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.spec.grid import Sweep, load_sweep
from amsgrad_exp.spec.read import load_experiment
from amsgrad_exp.sweeps import compute
from amsgrad_exp.sweeps.block import run_block
from amsgrad_exp.sweeps.verify import verify
from amsgrad_exp.sweeps.workers import workers
from amsgrad_exp.trace import Trace
from tests.conftest import CommandLine
from tests.sweeping import resumed, rows, swept

NADAM = ["torch.optim.NAdam"]


def plane(**given: Any) -> Sweep:
    arguments: dict[str, Any] = {
        "optimizers": NADAM,
        "grid": ["steep=500:2000:6", "period=2,7,20,101"],
        "steps": 3000,
        "log_every": 7,
    }
    return load_sweep(**arguments | given)


def lanes_of(trials: list[Trial]) -> list[tuple[Trace, Chunk | RunFailed]]:
    assert len({lane_key(trial) for trial in trials}) == 1
    finished = {each[0]: each[1:] for each in advance_torch_lanes(trials) if each}
    return [finished[number] for number in range(len(trials))]


def alone(trial: Trial) -> tuple[Trace, Chunk]:
    chunks = list(drive(build(trial), trial.steps, trial.log_every, fast_forward=False))
    return Trace.concatenate([chunk.trace for chunk in chunks]), chunks[-1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("schedule", ["constant", "inv-sqrt"])
@pytest.mark.parametrize(
    "optimizer",
    ["torch.optim.NAdam", "torch.optim.Adadelta", "adam", "tests.optimizers.Squashing", "tests.optimizers.Keeping"],
)
def test_a_lane_is_the_single_run_to_rounding(optimizer: str, schedule: str, dtype: str) -> None:
    sweep = plane(optimizers=[optimizer], schedule=schedule, dtype=dtype, engine="torch")
    trials = [sweep.trial(cell) for cell in (0, 3, 13, 22)]
    for trial, (trace, last) in zip(trials, lanes_of(trials), strict=True):
        expected, end = alone(trial)
        assert isinstance(last, Chunk)
        np.testing.assert_array_equal(trace.step, expected.step)
        for name in ("loss", "x", "regret"):
            scale = np.abs(expected.columns[name]).max()
            off = np.abs(trace.columns[name] - expected.columns[name]).max()
            assert off <= CROSS_ENGINE_TOLERANCE[dtype] * scale, name
        assert (last.step, last.steps_simulated) == (end.step, end.steps_simulated)
        assert last.tail_x_sum == pytest.approx(end.tail_x_sum, rel=1e-4, abs=1e-3)
        assert summarize(trial.problem, trace, last).iterate == summarize(trial.problem, expected, end).iterate


@pytest.mark.parametrize("optimizer", ["torch.optim.NAdam", "torch.optim.Adadelta", "tests.optimizers.Squashing"])
def test_the_bits_of_a_lane_do_not_depend_on_those_beside_it(optimizer: str) -> None:
    sweep = plane(optimizers=[optimizer], grid=["steep=510:2000:25", "period=2,7,20,101"], steps=400, log_every=1)
    trials = [sweep.trial(cell) for cell in range(len(sweep))]
    assert len(trials) % WIDTH  # some of the last are beside what a tensor is filled up with
    together = lanes_of(trials)
    some = [3, 99, 64, 17, 50]
    for cell, (trace, last) in zip(some, lanes_of([trials[cell] for cell in some]), strict=True):
        beside, its_last = together[cell]
        for column, numbers in trace.columns.items():
            assert numbers.tobytes() == beside.columns[column].tobytes()
        assert isinstance(last, Chunk)
        assert isinstance(its_last, Chunk)
        assert (last.x, last.total_regret, last.tail_x_sum) == (its_last.x, its_last.total_regret, its_last.tail_x_sum)


@pytest.mark.parametrize(
    "given",
    [
        {"optimizers": ["tests.optimizers.Normed"]},
        {"optimizers": ["tests.optimizers.Coupled"]},
        {"optimizers": ["tests.optimizers.Clearing"]},
        {"optimizers": ["tests.optimizers.InBackward"]},
        {"grid": ["lr=0.1,0.01"]},
        {"grid": ["lr=0.1,0.01"], "schedule": "inv-sqrt"},
    ],
    ids=str,
)
def test_what_cannot_be_lanes_is_run_alone_to_the_same_bits(given: dict[str, Any]) -> None:
    sweep = plane(**{"grid": ["steep=500,2000", "period=7,101"]} | given)
    for row in run_block(sweep, range(len(sweep))):
        trace, last = alone(sweep.trial(row["cell"]))
        result = summarize(sweep.trial(row["cell"]).problem, trace, last)
        assert (row["mean_x"], row["regret"], row["failure"]) == (result.mean_x, result.regret, None)


def test_settings_and_options_that_differ_are_axes_too() -> None:
    sweep = plane(grid=["lr=0.1,0.01", "momentum_decay=0.004,0.1", "steep=500,1500,2000"], steps=800)
    assert [len(cells) for cells in sweep.blocks(np.zeros(len(sweep), bool))] == [3, 3, 3, 3]
    computed = {row["cell"]: row for row in run_block(sweep, range(len(sweep)))}
    assert sorted(computed) == list(range(12))
    for cell, row in computed.items():
        trial = sweep.trial(cell)
        assert (trial.optimizer.lr, trial.optimizer.options) == (row["lr"], {"momentum_decay": row["momentum_decay"]})
        trace, last = alone(trial)
        result = summarize(trial.problem, trace, last)
        assert (row["regret"], row["mean_x"]) == pytest.approx((result.regret, result.mean_x), rel=1e-4, abs=1e-4)
    assert len({row["regret"] for row in computed.values()}) == 12


def test_an_option_of_whole_numbers_stays_whole() -> None:
    sweep = load_sweep(optimizers=["tests.optimizers.EveryNth"], grid=["n=1,2,3"], steps=10, log_every=1)
    options = [sweep.trial(cell).optimizer.options["n"] for cell in range(3)]
    assert options == [1, 2, 3]
    assert all(isinstance(n, int) for n in options)


@pytest.mark.parametrize(
    ("optimizer", "failure"),
    [
        ("tests.optimizers.Faulty", "the optimizer raised ZeroDivisionError at step 9: by zero"),
        ("tests.optimizers.NeverFinite", "x became nan at step 0"),
        ("tests.optimizers.RaisesAtAHundred", "the optimizer raised ZeroDivisionError at step 100: by zero"),
        ("tests.optimizers.LostAtAHundred", r"x became nan, R\(T\) nan by step 2999"),
        ("tests.optimizers.NeedsMore", "optimizer tests.optimizers.NeedsMore cannot be built: .*it needs more.*"),
    ],
)
def test_cells_that_fail_are_rows_that_say_so(optimizer: str, failure: str) -> None:
    sweep = Sweep({"optimizers": [{"name": optimizer}], "problem": {"name": "online"}, "steps": 3000}, {"steep": "2e3"})
    (row,) = run_block(sweep, [0])
    assert row["iterate"] is None
    assert re.fullmatch(failure, row["failure"]), row["failure"]


def test_a_sweep_that_was_stopped_goes_on_and_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "IN_FLIGHT", 1)
    sweep = plane(optimizers=["torch.optim.NAdam", "adam"], grid=["steep=1500,2000", "period=5,7,101", "lr=0.1,0.2"])
    done: list[int] = []
    stopped = swept(sweep, tmp_path, on_cells=lambda now, total: done.append(now), should_stop=lambda: done[-1] > 0)
    assert not stopped.complete
    assert 0 < len(rows(stopped.directory)) < len(sweep)
    assert resumed(stopped.directory).complete
    whole = swept(sweep, tmp_path)
    assert rows(stopped.directory) == rows(whole.directory)
    with workers(1) as executor:
        assert verify(stopped.directory, executor).recomputed == 24
    with workers(1) as executor:
        assert verify(stopped.directory, executor, every_cell=True).recomputed == 24


def test_the_command(command_line: CommandLine, tmp_path: Path) -> None:
    arguments = "--grid steep=1510:2010:6 --grid period=100:200:11 --steps 4000 --export csv".split()
    completed = command_line("sweep", "--optimizer", *NADAM, *arguments, "--out", str(tmp_path))
    assert completed.returncode == 0, completed.stderr
    assert "torch.optim.NAdam" in completed.stdout
    (directory,) = (path.parent for path in tmp_path.glob("*/*/results.csv"))
    assert (directory / "phase.png").is_file()
    kept = rows(directory)
    assert len(kept) == 66
    assert all(row["failure"] is None and row["steps_simulated"] == 4000 for row in kept)
    verified = command_line("verify", directory.name, "--out", str(tmp_path))
    assert verified.returncode == 0, verified.stderr


def test_a_sweep_whose_optimizer_is_gone_is_listed(command_line: CommandLine, tmp_path: Path) -> None:
    module = tmp_path / "gone.py"
    module.write_text("import torch\n\n\nclass Gone(torch.optim.SGD):\n    pass\n")
    arguments = (
        "sweep --optimizer gone.Gone --grid steep=500,1500 --steps 100 --log-every 1 --no-figure --quiet".split()
    )
    assert command_line(*arguments).returncode == 0
    module.unlink()
    listed = command_line("list", "sweeps")
    assert (listed.returncode, "gone.Gone" in listed.stdout) == (0, True), listed.stderr


def seeds_of(problem: str, optimizer: str = NADAM[0], **given: Any) -> Trial:
    entry = {"problem": problem, "steps": 3000, "log_every": 7, "seeds": 5, **given}
    (trial,) = load_experiment(optimizers=[optimizer], **entry).trials()
    return trial


@pytest.mark.parametrize("problem", ["stochastic", "components"])
def test_a_mean_over_seeds_is_the_mean_of_runs(problem: str) -> None:
    trial = seeds_of(problem)
    (together,) = lanes_of([trial])
    runs = [alone(run) for run in one_each(trial)]
    for trace, last in (together, alone(trial)):
        assert isinstance(last, Chunk)
        for name in ("loss", "x", "regret"):
            expected = np.mean([run.columns[name] for run, _ in runs], axis=0)
            np.testing.assert_allclose(trace.columns[name], expected, rtol=1e-4, atol=1e-4)
        assert trace.regret_halfwidth is not None
        assert last.halfwidths is not None
        assert last.x == pytest.approx(np.mean([end.x for _, end in runs]), rel=1e-4)
        assert last.total_regret == pytest.approx(np.mean([end.total_regret for _, end in runs]), rel=1e-4)
    np.testing.assert_array_equal(together[0].regret, alone(trial)[0].regret)


def test_a_mean_over_seeds_goes_on_from_a_saved_state() -> None:
    whole, first, second = (build(seeds_of("stochastic")) for _ in range(3))
    whole.advance(2000, 100)
    first.advance(900, 100)
    second.load(first.save())
    second.advance(2000, 100)
    assert (second.step, second.x, second.total_regret) == (whole.step, whole.x, whole.total_regret)


def test_an_optimizer_that_is_not_elementwise_takes_one_seed() -> None:
    with pytest.raises(ConfigError, match="not elementwise, and takes one seed"):
        build(seeds_of("stochastic", "torch.optim.Adafactor"))


def test_an_import_path_joins_the_gauntlet() -> None:
    problems = ["online", "stochastic", "components", "shi-realizable"]
    gauntlet = Gauntlet.of(optimizers=NADAM, problems=problems, steps=2000, seeds=3)
    blocks = list(gauntlet.blocks(np.zeros(len(gauntlet), bool)))
    assert sorted(cell for block in blocks for cell in block) == list(range(len(gauntlet)))
    assert max(map(len, blocks)) > 1
    done = [row for block in blocks for row in run_block(gauntlet, block)]
    assert {row["failure"] for row in done} == {None}
    random = [row for row in done if row["problem"] in ("stochastic", "components")]
    assert all(row["regret_halfwidth"] is not None for row in random)
