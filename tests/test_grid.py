"""Tests of a sweep's grid: its axes and cells, its errors, and the boundary that theory predicts in its plane."""

import pickle
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.numbers import Integer
from amsgrad_exp.problems import PROBLEMS, Online
from amsgrad_exp.spec.sweep import Sweep, load_sweep
from amsgrad_exp.sweeps.against_theory import boundary
from amsgrad_exp.sweeps.compute import AT_ONCE, blocks
from amsgrad_exp.theory import critical_beta2, drift
from tests.sweeping import swept

CONFIGS = Path(__file__).parent.parent / "configs"


def test_axes_are_spaced_as_written() -> None:
    axes = load_sweep(grid=["lr=log:0.01:1:3", "beta1=0:0.9:4", "beta2=log1m:0.9:0.999:3", "eps=1e-8,0.1"]).axes
    assert axes["lr"] == pytest.approx((0.01, 0.1, 1.0))
    assert axes["beta1"] == pytest.approx((0.0, 0.3, 0.6, 0.9))
    assert axes["beta2"] == pytest.approx((0.9, 0.99, 0.999))
    assert axes["eps"] == (1e-8, 0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"grid": []}, "at least one axis is needed"),
        ({"grid": ["beta2"]}, "--grid takes NAME=VALUES"),
        ({"grid": ["beta2=0.9:0.99"]}, "beta2 takes start:stop:count"),
        ({"grid": ["beta2=0.9:0.99:0"]}, "beta2 takes start:stop:count"),
        ({"grid": ["beta2=0.9:0.99:1000000000000"]}, "beta2 takes at most 10,000,000 values"),
        ({"grid": ["beta2=0:0.9:4000", "beta1=0:0.9:4000"]}, "a sweep has at most 10,000,000 cells, not 32,000,000"),
        ({"grid": ["beta2=0.9,0.99"], "steps": 10_000_000, "log_every": 10}, "log_every 10 .* use at least 100"),
        ({"grid": ["beta2=cubic:0.9:0.99:3"]}, "beta2 takes start:stop:count"),
        ({"grid": ["beta2=a,b"]}, "beta2 takes start:stop:count"),
        ({"grid": ["lr=inf:1:3"]}, "lr takes start:stop:count"),
        ({"grid": ["lr=log:-1:1:3"]}, "lr takes start:stop:count"),
        ({"grid": ["lr=0.1,0.2", "lr=0.3"]}, "--grid lr is given twice"),
        ({"grid": ["beta2=0.9:1:3"]}, "beta2: must be less than 1"),
        ({"grid": ["beta3=0.9:1:3"]}, r"unknown setting 'beta3', did you mean beta"),
        ({"grid": ["C=3,4"]}, "unknown setting 'C'"),
        ({"grid": ["name=3,4"]}, "unknown setting 'name'"),
        ({"grid": ["period=2:3:3"]}, "period: must be a whole number"),
        ({"grid": ["momentum=0,0.5"], "optimizers": ["torch.optim.NAdam"]}, "unknown setting 'momentum', did you mean"),
        ({"grid": ["momentum=0,0.5"], "optimizers": ["torch.optim.SGD", "torch.optim.NAdam"]}, "NAdam takes no momen"),
        ({"grid": ["lr=0.1,0.2"], "optimizers": ["adam", "adam"]}, "optimizer adam is listed twice"),
        ({"grid": ["lr=0.1,0.2"], "problem": "stochastic", "seeds": 3}, "one seed per cell"),
        ({"grid": ["p=0.05:0.5:4"], "optimizers": ["padam", "amsgrad"]}, "^grid: amsgrad takes no p, so it cannot be"),
        ({"grid": ["p=0.05:0.5:4"], "optimizers": ["padm"]}, "unknown name 'padm', did you mean padam"),
        ({"grid": ["p=0.05:0.6:4"], "optimizers": ["padam"]}, r"^padam.options.p: must be less than or equal to 0.5"),
        ({"grid": ["n=1:2:3"], "optimizers": ["adashift"]}, r"^adashift.options.n: must be a whole number"),
        (
            {"grid": ["dialect=torch,paper"], "optimizers": ["adam"]},
            "^grid: dialect is not a number, so it cannot be an",
        ),
        ({"grid": ["clip=0,1"], "optimizers": ["adopt"]}, "^grid: clip is not a number, so it cannot be an axis"),
        (
            {"grid": ["n=1,2"], "optimizers": ["adashift"], "problem": "components"},
            r"^grid: n is an option and a constant of components: write options.n or problem.n$",
        ),
        ({"grid": ["steep=1000"], "constants": {"shallow": -10}}, "the mean slope is 0"),
    ],
)
def test_an_invalid_grid_is_rejected_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_sweep(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("grid", "optimizer"), [("lr=0.1,0.2", "tests.optimizers.Random"), ("steep=2e3", "tests.optimizers.Global")]
)
def test_an_optimizer_that_is_not_deterministic_is_rejected(grid: str, optimizer: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not deterministic"):
        swept(load_sweep(grid=[grid], optimizers=[optimizer]), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("grid", ["grid: 3", "grid: {lr: {a: 1}}", "grid: {lr: 0:1:3:4:5}"])
def test_a_file_with_an_invalid_grid_is_rejected_in_one_line(grid: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(grid)
    with pytest.raises(ConfigError, match="grid: ") as caught:
        load_sweep(tmp_path / "sweep.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path", [path for path in sorted(CONFIGS.glob("*.yaml")) if "grid:" in path.read_text()], ids=lambda path: path.stem
)
def test_the_shipped_sweeps_load(path: Path) -> None:
    sweep = load_sweep(path)
    assert len(sweep.axes) in (1, 2)
    assert sweep.trial(len(sweep) - 1).name == path.stem


def test_theorem_1s_beta2_depends_on_the_constant_of_each_cell() -> None:
    sweep = load_sweep(problem="theorem1", grid=["C=3,10"], optimizers=["adam"])
    assert [sweep.trial(cell).optimizer.beta2 for cell in (0, 1)] == [1 / 10, 1 / 101]


def test_only_the_cells_of_a_grid_must_be_valid() -> None:
    """With steep = 1000 and the default shallow, which no cell has, the mean slope is 0."""
    sweep = load_sweep(grid=["shallow=-9,-8"], constants={"steep": 1000}, steps=100_000)
    assert [sweep.trial(cell).problem.shallow for cell in (0, 1)] == [-9, -8]  # type: ignore[attr-defined]
    assert sweep.data["log_every"] == 100


def test_an_optimizer_may_be_swept_twice_with_different_settings(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(
        "optimizers: [{name: adam, eps: 0.1}, {name: adam, eps: 0.2, label: softer}]\ngrid: {lr: '0.1,0.2'}\n"
    )
    sweep = load_sweep(tmp_path / "two.yaml")
    assert sweep.optimizers == ("adam", "softer")
    assert [(sweep.values(cell)[0], sweep.trial(cell).optimizer.eps) for cell in (1, 2)] == [
        ("adam", 0.1),
        ("softer", 0.2),
    ]


def test_a_sweep_is_pickled_in_few_bytes() -> None:
    sweep = load_sweep(grid=["beta1=0:0.9:40"])
    assert sweep.trial(3) == pickle.loads(pickle.dumps(sweep)).trial(3)
    assert len(pickle.dumps(sweep)) < 1000


@pytest.mark.parametrize(
    ("grid", "optimizer", "by", "mixed"),
    [
        (["period=100,101,103", "phase=0:49:50", "beta2=0.5:0.9:9"], "adam", "period", 2),
        (["n=1,2,3", "beta2=0.5:0.9:500"], "adashift", "n", 2),
    ],
)
def test_a_block_has_one_period_and_one_rule(grid: list[str], optimizer: str, by: str, mixed: int) -> None:
    """Except in blocks in which one period or rule ends and the next begins."""
    sweep = load_sweep(grid=grid, optimizers=[optimizer])
    parts = list(blocks(sweep, np.zeros(len(sweep), bool)))
    assert sorted(cell for cells in parts for cell in cells) == list(range(len(sweep)))
    assert sum(len({sweep.values(cell)[1][by] for cell in cells}) > 1 for cells in parts) <= mixed
    assert all(len(cells) == AT_ONCE for cells in parts[:-1])


def test_options_of_an_optimizer_may_be_axes() -> None:
    sweep = load_sweep(grid=["n=1,2,5"], optimizers=["adashift"], options={"n": "7"})
    assert [sweep.trial(cell).optimizer.options for cell in range(3)] == [{"n": 1}, {"n": 2}, {"n": 5}]
    both = load_sweep(grid=["problem.n=3,4", "options.n=1,2"], optimizers=["adashift"], problem="components")
    trial = both.trial(1)
    assert (trial.problem.n, trial.optimizer.options["n"]) == (3, 2)  # type: ignore[attr-defined]
    assert both.trial(1) == pickle.loads(pickle.dumps(both)).trial(1)


def boundary_of(sweep: Sweep) -> tuple[Any, ...]:
    plane = boundary(sweep, sweep.optimizers[0])
    assert plane is not None
    return plane


def test_the_boundary_depends_on_an_axis_of_an_option() -> None:
    sweep = load_sweep(grid=["n=1,2,90", "beta2=0.5:0.999:5"], optimizers=["adashift"], problem="theorem1")
    mesh_n, mesh_beta2, drifts = boundary_of(sweep)
    assert set(mesh_n) <= set(range(1, 91))
    for i, j in ((0, 3), (150, 20)):
        options = {"n": int(mesh_n[i])}
        assert drifts[j, i] == drift(sweep.example.problem, "adashift", 0.0, mesh_beta2[j], 1e-16, options)


class Late(Online):
    """A problem from outside the package, with a constant that is a whole number."""

    name: Literal["late"] = "late"  # type: ignore[assignment]
    delay: Annotated[Integer, Field(ge=0, le=99)] = 0

    def coefficients(self, start: int, stop: int, seed: int = 0) -> Any:
        return super().coefficients(start + self.delay, stop + self.delay, seed)


def test_the_boundary_over_a_whole_number_is_at_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROBLEMS, "late", Late)
    sweep = load_sweep(problem="late", grid=["delay=0,7,30", "steep=900:990:5"], optimizers=["adam"])
    delay, _, drifts = boundary_of(sweep)
    assert np.array_equal(delay, np.round(delay))
    assert np.isfinite(drifts).all()
    with pytest.raises(ConfigError, match="delay: must be a whole number"):
        load_sweep(problem="late", grid=["delay=0,0.5"])


def test_the_boundary_is_at_the_critical_beta2() -> None:
    sweep = load_sweep(grid=["beta1=0:0.95:5", "beta2=log1m:0.5:0.99999:9"], optimizers=["adam"])
    beta1, beta2, drifts = boundary_of(sweep)
    for column in (0, 30, 59):
        (critical,) = critical_beta2(sweep.trial(0).problem, "adam", beta1[column], 1e-16)
        assert np.array_equal(drifts[:, column] > 0, beta2 > critical)
    theorem1 = load_sweep(problem="theorem1", grid=["C=2.1:9:4", "beta2=0.1:0.9:3"], optimizers=["adam"])
    assert boundary(theorem1, "adam") is not None
    noisy = load_sweep(problem="stochastic", grid=["lr=0.1,0.2", "beta2=0.1:0.9:3"], optimizers=["adam"])
    assert boundary(noisy, "adam") is None


def test_the_boundary_depends_on_the_optimizers_options(tmp_path: Path) -> None:
    (tmp_path / "shift.yaml").write_text(
        "optimizers: [{name: adashift, options: {n: 3}}]\ngrid: {beta1: '0:0.9:3', beta2: '0.5:0.9:3'}\n"
    )
    beta1, beta2, drifts = boundary_of(load_sweep(tmp_path / "shift.yaml"))
    mesh_1, mesh_2 = np.meshgrid(beta1, beta2)
    assert np.array_equal(drifts, drift(Online(), "adashift", mesh_1, mesh_2, 1e-16, {"n": 3}))
    assert not np.array_equal(drifts, drift(Online(), "adashift", mesh_1, mesh_2, 1e-16))


def test_the_boundary_is_unknown_at_invalid_cells() -> None:
    sweep = load_sweep(grid=["period=3:101:99", "phase=0:100:101"], optimizers=["adam"])
    period, phase, drifts = boundary_of(sweep)
    assert np.array_equal(np.isnan(drifts), phase[:, None] >= period)
