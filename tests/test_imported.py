"""Tests of optimizers given by import path: how they are built and driven, and the errors if that is impossible."""

import importlib
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_optimizer
import torch

from amsgrad_exp.attacks.attacking import target
from amsgrad_exp.engines import build, shared_between
from amsgrad_exp.engines.torch_step import way_of
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.optimizers.importing import PLAIN, Drive, import_optimizer
from amsgrad_exp.problems import Online, Problem
from amsgrad_exp.problems.convergence import Components
from amsgrad_exp.records.recorder import record
from amsgrad_exp.records.verify_run import verify
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.rules.settings import OptimizerSettings
from amsgrad_exp.schedules import InverseSquareRoot
from amsgrad_exp.spec.read import load_experiment
from tests.conftest import CommandLine
from tests.coverage import covered
from tests.optimizers import Global
from tests.recorded import list_runs
from tests.trials import literal

STEPS = 150


def iterates(path: str, problem: Problem | None = None, **arguments: Any) -> list[float]:
    engine = literal(path, problem or Online(), InverseSquareRoot(0.1), **arguments)
    trace = engine.advance(STEPS, 1).runs(0)
    assert engine.failure is None
    return [float(x) for x in trace.x]


def by_hand(problem: Problem, update: Callable[[int, float, tuple[float, ...], float], float]) -> list[float]:
    """The iterates if ``update`` returns the next one, given t from 1, x, the loss's coefficients and lr."""
    x, xs = problem.start, []
    coefficients = problem.coefficients(0, STEPS).T.tolist()
    for t, (c, lr) in enumerate(zip(coefficients, InverseSquareRoot(0.1).step_sizes(0, STEPS).tolist(), strict=True)):
        xs.append(x)
        x = min(max(update(t + 1, x, c, lr), problem.interval[0]), problem.interval[1])
    return xs


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
def test_functions_and_unusual_classes_make_optimizers(factory: str, path: str, arguments: dict[str, Any]) -> None:
    assert iterates(f"tests.optimizers.{factory}") == iterates(path, **arguments)


def test_lookahead_gives_the_iterates_computed_by_hand() -> None:
    m = v = slow = 0.0

    def update(t: int, x: float, c: tuple[float, ...], lr: float) -> float:
        nonlocal m, v, slow
        m, v = 0.9 * m + 0.1 * c[0], 0.999 * v + 0.001 * c[0] ** 2
        x -= lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
        if t % 3 == 0:
            x = slow = slow + 0.25 * (x - slow)
        return x

    expected = by_hand(Online(), update)
    assert iterates("tests.optimizers.lookahead", k=3, part=0.25) == pytest.approx(expected, rel=1e-12)


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
    "tests.optimizers.Named": Drive(parameters="named"),
    "tests.optimizers.OfAModel": Drive(parameters="module"),
    "tests.optimizers.Matrices": Drive((1, 1)),
    "tests.optimizers.Polyak": Drive(closure=True),
    "tests.optimizers.Curved": Drive(graph=True),
    "tests.optimizers.Faulty": PLAIN,
}


@pytest.mark.parametrize("path", DRIVES)
def test_the_way_to_drive_an_optimizer_is_found_by_trial(path: str) -> None:
    assert import_optimizer(path) is import_optimizer(path)
    assert way_of(OptimizerSettings(name=path, lr=1e-3), "float32").drive == DRIVES[path]


def test_a_closure_evaluates_the_loss_and_its_gradient() -> None:
    """Polyak's step from x on f(x) = s·x is |s·x|/s², at most lr."""
    problem = Online(low=-2.0, high=3.0)
    expected = by_hand(problem, lambda t, x, c, lr: x - min(lr, abs(c[0] * x) / c[0] ** 2) * c[0])
    assert iterates("tests.optimizers.Polyak", problem) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_an_optimizer_may_differentiate_the_gradient() -> None:
    """The second derivative is 0 on linear losses, and a whole number on those of `Components` with a = 2, n = 3."""
    assert iterates("tests.optimizers.Curved") == iterates("torch.optim.SGD")
    problem = Components(n=3, a=2.0)

    def update(t: int, x: float, c: tuple[float, ...], lr: float) -> float:
        slope, ahead = (float(problem.slope(at, *c)) for at in (x, x + 1e-6))
        return x - lr * slope / (1 + abs(round((ahead - slope) / 1e-6)))

    assert iterates("tests.optimizers.Curved", problem) == pytest.approx(by_hand(problem, update), rel=1e-9)


def test_trials_restore_random_generators_and_class_attributes() -> None:
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    before = torch.get_rng_state().clone(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    steps = Global.steps
    for path in ("tests.optimizers.Random", "tests.optimizers.Global", "pytorch_optimizer.AdaHessian"):
        way_of(OptimizerSettings(name=path, lr=0.123), "float32")
    assert shared_between(load_experiment(optimizers=["tests.optimizers.Random"]).trials()[0]) is None
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert Global.steps == steps


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("tests.optimizers.none", "cannot be built: it returned None, not a torch.optim.Optimizer"),
        ("tests.optimizers.other_parameters", "cannot be built: it does not keep the parameters that it is given"),
        ("tests.optimizers.wrapped", "cannot be built: it does not keep the parameters that it is given"),
        ("tests.optimizers.without_lr", "takes no lr, which every schedule sets"),
        ("tests.optimizers.raising", "cannot be built: no such luck"),
        ("tests.optimizers.exiting", "cannot be built: enough"),
        ("tests.optimizers.DRIVES", "cannot be imported"),
        ("tests.optimizers.maker.nothing", "cannot be imported"),
        ("tests.optimizers.Maker", "is neither a torch.optim.Optimizer class nor a function that makes one"),
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
def test_a_path_that_makes_no_optimizer_is_rejected_in_one_line(path: str, message: str) -> None:
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
        ("tests.optimizers.Lengthy", "ValueError at step 0: " + "no more " * 62 + "no m…"),
    ],
)
def test_an_optimizer_that_cannot_step_fails_at_step_0(path: str, reason: str, in_process: CommandLine) -> None:
    done = in_process("run", "--optimizer", path, "--steps", "50")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"the optimizer raised {reason}" in done.stderr


def test_documents_and_records_say_how_an_optimizer_was_driven(in_process: CommandLine) -> None:
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


def test_verify_notices_that_an_optimizers_code_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    regrets = []
    for optimizer in ("lookahead --option k=2 --option part=1.0", "adam --beta2 0.999 --eps 1e-8"):
        done = in_process(*f"run --optimizer tests.optimizers.{optimizer} --steps 99 --lr 0.01 --json".split())
        regrets.append(json.loads(done.stdout)["runs"][0]["total_regret"])
    assert regrets[0] == regrets[1]


def test_a_matrix_shaped_optimizer_is_attacked() -> None:
    batch = target("torch.optim.Muon").make_batch([(3, -1), (-1, -1, 3)], np.ones(2))
    moves, _ = batch.advance(60, np.zeros(2, np.int64), np.full(2, 60))
    assert np.isfinite(moves).all()
    assert np.abs(moves).min() > 0


def test_a_shape_is_read_from_yaml_as_a_number_or_a_text(tmp_path: Path) -> None:
    for written, shape in (("1", "1"), ("'1'", "1"), ("1x1", "1x1")):
        (tmp_path / "mine.yaml").write_text(f"optimizers: [{{name: torch.optim.Adam, shape: {written}}}]\n")
        (settings,) = load_experiment(tmp_path / "mine.yaml").optimizers
        assert settings.shape == shape


TIED = {
    "tests.optimizers.SharedByParameters": "parameters",
    "tests.optimizers.CountsParameters": "parameters",
    "tests.optimizers.Coupled": "parameters",
    "tests.optimizers.SharedByGroups": "groups",
    "tests.optimizers.CountsGroups": "groups",
    "tests.optimizers.SignError": "groups",  # never looks at its second group
    "tests.optimizers.SharedByElements": "elements",
    "tests.optimizers.Normed": "elements",
    # By their definition: curvature from all parameters, a trust ratio, a norm of the update, one moment for a tensor.
    "torch.optim.LBFGS": "parameters",
    "torch.optim.Adafactor": "elements",
    "torch.optim.Muon": "elements",
    "pytorch_optimizer.Lamb": "elements",
    "pytorch_optimizer.NovoGrad": "elements",
}
APART = [
    *(
        f"torch.optim.{name}"
        for name in "ASGD Adadelta Adagrad Adam AdamW Adamax NAdam RAdam RMSprop Rprop SGD".split()
    ),
    *(f"pytorch_optimizer.{name}" for name in "ADOPT AdaBelief AdaBound Adan DiffGrad Lion QHAdam SWATS Yogi".split()),
    *("tests.optimizers.Port", *(f"tests.optimizers.{name}" for name in "adam lookahead OfAModel Matrices".split())),
    *sorted({known.path for known in OPTIMIZERS.values()}),
]


def test_an_optimizer_whose_updates_depend_on_other_parameters_is_recognized() -> None:
    for path, expected in {**TIED, **dict.fromkeys(APART)}.items():
        (trial,) = load_experiment(optimizers=[path], settings={"lr": 0.001}).trials()
        assert shared_between(trial) == expected, path


def test_documents_say_what_the_updates_depend_on(
    in_process: CommandLine,
) -> None:
    cell = "--problem online --schedule constant --settings stated --steps 200 --no-figure"
    for path in ("tests.optimizers.CountsParameters", "tests.optimizers.loud", "adam"):
        done = in_process("run", "--optimizer", path, "--steps", "100", "--json")
        assert json.loads(done.stdout)["runs"][0]["shared_between"] == TIED.get(path)
        if "." in path:
            done = in_process("attack", "--optimizer", path, "--problems", "2", "--no-figure", "--json")
            assert json.loads(done.stdout)["shared_between"] == TIED.get(path)
        done = in_process("gauntlet", "--optimizer", path, *cell.split(), "--json")
        assert [each["shared_between"] for each in json.loads(done.stdout)["cells"]] == [TIED.get(path)]
        assert done.stderr.count("depends on the other parameters") == (path in TIED)
    for command, said in (
        ("compare --optimizer tests.optimizers.CountsGroups --optimizer adam", "the parameters of other groups"),
        ("run --optimizer tests.optimizers.SharedByElements", "the other elements of its parameter"),
    ):
        done = in_process(*command.split(), "--steps", "100")
        assert f"depends on {said}" in " ".join(done.stdout.split())


def test_nearly_all_optimizers_of_torch_and_most_of_pytorch_optimizer_run() -> None:
    rows = list(covered(torch.optim))
    assert {row.path for row in rows if row.rejected} <= {"torch.optim.SparseAdam"}
    assert len(rows) >= 13
    rows = list(covered(pytorch_optimizer))
    assert len(rows) != 139 or sum(row.rejected is None for row in rows) >= 118  # 139 in pytorch_optimizer 4.1
    for row in rows:
        assert row.rejected is None or "\n" not in row.rejected
