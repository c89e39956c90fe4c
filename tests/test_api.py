"""Tests that the functions of amsgrad_exp do what the commands do, and that the README's program runs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import amsgrad_exp
from amsgrad_exp.errors import ConfigError, RunError, RunFailed
from amsgrad_exp.spec.read import resolve
from amsgrad_exp.spec.sweep import Sweep
from tests.conftest import CommandLine
from tests.recorded import list_runs

README = Path(__file__).parent.parent / "README.md"


def test_the_readmes_program_runs(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(from amsgrad_exp import Experiment.*?)```", README.read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["adam", "worst"], ["amsgrad", "optimum"]]
    assert len(list(tmp_path.glob("logs/synthetic/*/summary.json"))) == 2


def test_run_writes_the_same_bytes_as_the_command(in_process: CommandLine, tmp_path: Path) -> None:
    run = amsgrad_exp.run(resolve({"optimizers": ["amsgrad"], "steps": 200_000}), tmp_path / "logs")
    done = in_process("run", "--optimizer", "amsgrad", "--steps", "200000", "--json", "--out", "others")
    (document,) = json.loads(done.stdout)["runs"]
    assert document["total_regret"] == run.result.total_regret
    assert (Path(document["directory"]) / "trace.csv").read_bytes() == run.trace_bytes()
    assert run.trace.regret[-1] == run.result.regret
    assert {column.dtype for column in run.trace.columns.values()} == {np.dtype(np.int64), np.dtype(np.float64)}


def test_run_rejects_several_optimizers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one optimizer, not 2: use compare"):
        amsgrad_exp.run(resolve({"steps": 10}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_raises_and_has_no_result(tmp_path: Path) -> None:
    experiment = resolve({"optimizers": [{"name": "tests.optimizers.Faulty", "lr": 0.1}], "steps": 100})
    with pytest.raises(RunFailed):
        amsgrad_exp.run(experiment, tmp_path)
    (failed,) = list_runs(tmp_path)
    with pytest.raises(RunError, match="is failed: it has no result"):
        _ = failed.result


def test_a_sweep_returns_arrays(tmp_path: Path) -> None:
    plane = Sweep.of({"beta2": [0.5, 0.99], "lr": "0.01,0.1,1"}, optimizers=["adam"], steps=20_000)
    swept = amsgrad_exp.sweep(plane, tmp_path)
    assert swept.complete
    assert swept.axes["lr"].tolist() == [0.01, 0.1, 1.0]
    assert swept.column("mean_x").shape == (1, 2, 3)
    assert np.isfinite(swept.column("regret").astype(float)).all()

    run = amsgrad_exp.run(resolve({"optimizers": ["adam"], "steps": 1000}), tmp_path / "logs")
    logged = yaml.safe_load((run.directory / "indicators.yaml").read_text())["indicators"]
    assert set(logged) == {"loss", "x", "regret"}, "labml has none of the sweep's indicators left"


def test_public_names_are_imported_on_demand() -> None:
    program = "import sys, amsgrad_exp; print([n for n in ('numpy', 'torch', 'pydantic', 'numba') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = amsgrad_exp.nothing
    packages = {path.name for path in Path(amsgrad_exp.__file__).parent.iterdir()}
    assert not packages & set(amsgrad_exp.__all__), "a package would hide a function of that name"
