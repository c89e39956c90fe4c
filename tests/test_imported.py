"""What an import path may name, how it is driven, and what is said where that cannot be."""

from __future__ import annotations

import importlib
import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from amsgrad_exp.attacks.attacking import target
from amsgrad_exp.engines import build
from amsgrad_exp.engines.torch_step import way_of
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.optimizers.importing import PLAIN, Drive, import_optimizer
from amsgrad_exp.problems import Online
from amsgrad_exp.problems.convergence import Components
from amsgrad_exp.records.recorder import record
from amsgrad_exp.records.verify_run import verify
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.schedules import InverseSquareRoot
from amsgrad_exp.spec.read import load_experiment
from tests.conftest import CommandLine
from tests.recorded import list_runs
from tests.trials import literal


def iterates(path: str, problem: Any = None, steps: int = 150, **arguments: Any) -> list[float]:
    engine = literal(path, problem or Online(), InverseSquareRoot(0.1), **arguments)
    trace = engine.advance(steps, 1).lanes(0)
    assert engine.failure is None
    return [*trace.x.tolist(), engine.x]


@pytest.mark.parametrize(
    ("factory", "path", "arguments"),
    [
        ("adam", "torch.optim.Adam", {}),
        ("halved", "torch.optim.Adam", {"betas": (0.5, 0.5)}),
        ("shorter", "torch.optim.SGD", {}),
        ("maker", "torch.optim.Adam", {}),
        ("maker.sgd", "torch.optim.SGD", {}),
        ("Maker.sgd", "torch.optim.SGD", {}),
        ("Named", "torch.optim.SGD", {}),
        ("OfAModel", "torch.optim.SGD", {}),
        ("Matrices", "torch.optim.SGD", {}),
    ],
)
def test_what_makes_an_optimizer_is_that_optimizer(factory: str, path: str, arguments: dict[str, Any]) -> None:
    assert iterates(f"tests.factories.{factory}") == iterates(path, **arguments)


def test_lookahead_is_what_it_is_by_hand() -> None:
    x, slow, m, v, expected = 0.0, 0.0, 0.0, 0.0, []
    problem = Online()
    for t, (slope, lr) in enumerate(
        zip(problem.coefficients(0, 60)[0].tolist(), InverseSquareRoot(0.1).step_sizes(0, 60).tolist(), strict=True), 1
    ):
        expected.append(x)
        m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
        x -= lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
        if t % 3 == 0:
            x = slow = slow + 0.25 * (x - slow)
        x = min(max(x, -1.0), 1.0)
    engine = literal("tests.factories.lookahead", problem, InverseSquareRoot(0.1), k=3, part=0.25)
    assert engine.advance(60, 1).lanes(0).x == pytest.approx(expected, rel=1e-12)


DRIVES = {
    "torch.optim.Adam": PLAIN,
    "torch.optim.Muon": Drive((1, 1)),
    "torch.optim.LBFGS": Drive(closure=True),
    "pytorch_optimizer.Muon": Drive(parameters="use_muon"),
    "pytorch_optimizer.SpectralSphere": Drive((1, 1)),
    "pytorch_optimizer.AdamMini": Drive(parameters="module"),
    "pytorch_optimizer.AliG": Drive(closure=True),
    "pytorch_optimizer.AdaHessian": Drive(graph=True),
    "pytorch_optimizer.SophiaH": Drive(graph=True),
    "tests.factories.Named": Drive(parameters="named"),
    "tests.factories.OfAModel": Drive(parameters="module"),
    "tests.factories.Matrices": Drive((1, 1)),
    "tests.factories.Polyak": Drive(closure=True),
    "tests.factories.Curved": Drive(graph=True),
    "tests.optimizers.Faulty": PLAIN,
}


@pytest.mark.parametrize("path", DRIVES)
def test_how_an_optimizer_is_driven_is_found_by_trial(path: str) -> None:
    assert import_optimizer(path) is import_optimizer(path)
    assert way_of(OptimizerSettings(name=path, lr=1e-3), "float32").drive == DRIVES[path]


def test_a_closure_evaluates_the_loss_and_its_gradient() -> None:
    """Polyak's step from x on f(x) = s·x is |s·x|/s², at most lr."""
    problem, expected, x = Online(low=-2.0, high=3.0), [], 0.0
    for slope, lr in zip(
        problem.coefficients(0, 150)[0].tolist(), InverseSquareRoot(0.1).step_sizes(0, 150).tolist(), strict=True
    ):
        expected.append(x)
        x = min(max(x - min(lr, abs(slope * x) / slope**2) * slope, -2.0), 3.0)
    assert iterates("tests.factories.Polyak", problem)[:-1] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_gradients_can_be_differentiated_where_that_is_needed() -> None:
    """On linear losses the second derivative is 0; on those of `Components` with a = 2, n = 3, 0, 7 or −2 or 5."""
    assert iterates("tests.factories.Curved") == iterates("torch.optim.SGD")
    problem = Components(n=3, a=2.0)
    engine = literal("tests.factories.Curved", problem, InverseSquareRoot(0.1))
    xs = engine.advance(150, 1).lanes(0).x
    steps = InverseSquareRoot(0.1).step_sizes(0, 150)
    x, expected = problem.start, []
    for c, lr in zip(problem.coefficients(0, 150).T.tolist(), steps.tolist(), strict=True):
        expected.append(x)
        slope, ahead = (float(problem.slope(at, *c)) for at in (x, x + 1e-6))
        x -= lr * slope / (1 + abs(round((ahead - slope) / 1e-6)))
    assert xs == pytest.approx(expected, rel=1e-9)


def test_trials_leave_random_generators_and_counts_as_they_were() -> None:
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    before = torch.get_rng_state().clone(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    from tests.optimizers import Global

    steps = Global.steps
    for path in ("tests.optimizers.Random", "tests.optimizers.Global", "pytorch_optimizer.AdaHessian"):
        way_of(OptimizerSettings(name=path, lr=0.123), "float32")
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert Global.steps == steps


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("tests.factories.none", "cannot be built: it returned None, not a torch.optim.Optimizer"),
        ("tests.factories.other_parameters", "cannot be built: it does not keep the parameters that it is given"),
        ("tests.factories.wrapped", "cannot be built: it does not keep the parameters that it is given"),
        ("tests.factories.without_lr", "takes no lr, which every schedule sets"),
        ("tests.factories.raising", "cannot be built: no such luck"),
        ("tests.factories.exiting", "cannot be built: enough"),
        ("tests.factories.DRIVES", "cannot be imported"),
        ("tests.factories.maker.nothing", "cannot be imported"),
        ("tests.factories.Maker", "is neither a torch.optim.Optimizer class nor a function that makes one"),
        ("tests.optimizers.NeedsMore", "cannot be built: .*missing 1 required"),
        ("torch.optim.Nothing", "cannot be imported"),
        ("no_such_module.Thing", "cannot be imported"),
        ("torch.nn.Linear", "is neither a torch.optim.Optimizer class"),
        ("torch.optim.Optimizer", "is neither a torch.optim.Optimizer class"),
        ("amsgrad_exp.optimizers.AdaptiveOptimizer", "is neither a torch.optim.Optimizer class"),
        ("math.pi", "is neither a torch.optim.Optimizer class"),
        ("pytorch_optimizer.SAM", ".*needs base_optimizer"),
        ("pytorch_optimizer.Lookahead", ".*takes an optimizer, not parameters"),
        ("pytorch_optimizer.BSAM", ".*needs num_data"),
        ("pytorch_optimizer.DistributedMuon", ".*Default process group has not been initialized"),
    ],
)
def test_what_makes_no_optimizer_is_rejected_in_a_line(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^(optimizers: )?(optimizer )?{re.escape(path)} {message}") as error:
        build(load_experiment(optimizers=[path]).trials()[0])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("torch.optim.SparseAdam", "RuntimeError at step 0: SparseAdam does not support dense gradients"),
        (
            "pytorch_optimizer.LOMO",
            "NotImplementedError at step 0: its step() is not implemented (a method of another name may",
        ),
        ("tests.factories.Lengthy", "ValueError at step 0: " + "no more " * 62 + "no m…"),
    ],
)
def test_what_takes_no_step_fails_at_the_first(path: str, reason: str, in_process: CommandLine) -> None:
    done = in_process("run", "--optimizer", path, "--steps", "50")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"the optimizer raised {reason}" in done.stderr


def test_the_record_says_how_an_optimizer_was_driven(in_process: CommandLine) -> None:
    done = in_process("run", "--optimizer", "torch.optim.Muon", "--steps", "50", "--json")
    (document,) = json.loads(done.stdout)["runs"]
    driven = {name: document[name] for name in ("shape", "parameters", "closure", "graph")}
    assert driven == {"shape": "1x1", "parameters": "tensors", "closure": False, "graph": False}
    shown = in_process("show", "last").stdout
    assert "needs      a parameter of shape 1x1" in shown
    done = in_process("run", "--optimizer", "torch.optim.Adam", "--shape", "1x1", "--steps", "50", "--json")
    (document,) = json.loads(done.stdout)["runs"]
    assert document["shape"] == "1x1"
    assert "shape: 1x1" in Path(document["directory"], "experiment.yaml").read_text()
    done = in_process("run", "--optimizer", "torch.optim.LBFGS", "--steps", "20", "--lr", "0.001")
    assert "needs      a closure" in done.stdout
    for arguments, said in (
        (["--optimizer", "torch.optim.Muon", "--shape", "1"], "Muon only supports 2D parameters"),
        (["--optimizer", "torch.optim.Adam", "--shape", "2x2"], "shape: "),
        (["--optimizer", "adam", "--shape", "1x1"], "adam updates every element alike, so it takes no shape"),
    ):
        done = in_process("run", *arguments, "--steps", "50")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert said in done.stderr


def test_verify_says_that_an_optimizers_code_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "part.py").write_text("SCALE = 1.0\n")
    (tmp_path / "whole.py").write_text(
        "import part, torch\n\ndef make(params, lr):\n    return torch.optim.SGD(params, lr=lr * part.SCALE)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    trial = load_experiment(optimizers=["whole.make"], steps=20).trials()[0]
    record(trial, tmp_path / "logs")
    (run,) = list_runs(tmp_path / "logs")
    assert not verify(run).changed
    (tmp_path / "part.py").write_text("SCALE = 1.0  # as before\n")
    for name in ("part", "whole"):
        importlib.reload(importlib.import_module(name))
    assert [what for what, _, _ in verify(run).changed] == ["optimizer's code"]


def test_options_of_a_function_are_set_by_name(in_process: CommandLine) -> None:
    done = in_process(
        "run", "--optimizer", "tests.factories.lookahead", "--option", "k=2", "--option", "part=1.0", "--steps", "99",
        "--lr", "0.01", "--json",
    )  # fmt: skip
    plain = in_process("run", "--optimizer", "tests.factories.adam", "--beta2", "0.999", "--eps", "1e-8", "--steps",
        "99", "--lr", "0.01", "--json")  # fmt: skip
    regrets = [json.loads(each.stdout)["runs"][0]["total_regret"] for each in (done, plain)]
    assert regrets[0] == regrets[1]


def test_what_a_function_prints_is_kept_out_of_the_output(in_process: CommandLine) -> None:
    done = in_process("run", "--optimizer", "tests.factories.loud", "--steps", "20", "--json")
    assert json.loads(done.stdout)["runs"][0]["optimizer"] == "tests.factories.loud"
    done = in_process("attack", "--optimizer", "tests.factories.loud", "--problems", "2", "--json")
    assert json.loads(done.stdout)["optimizer"] == "tests.factories.loud"


def test_a_matrix_shaped_optimizer_is_attacked() -> None:
    lanes = target("torch.optim.Muon").make_batch([(3, -1), (-1, -1, 3)], np.ones(2))
    moves, _ = lanes.advance(60, np.zeros(2, np.int64), np.full(2, 60))
    assert np.isfinite(moves).all()
    assert np.abs(moves).min() > 0


def test_a_shape_is_read_from_yaml_as_a_number_or_a_text(tmp_path: Path) -> None:
    for written, shape in (("1", "1"), ("'1'", "1"), ("1x1", "1x1")):
        (tmp_path / "mine.yaml").write_text(f"optimizers: [{{name: torch.optim.Adam, shape: {written}}}]\n")
        (settings,) = load_experiment(tmp_path / "mine.yaml").optimizers
        assert settings.shape == shape
