"""Tests of step-size schedules: how they are written, their values compared with torch's, and runs that use them."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as some
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from amsgrad_exp import Experiment, engines, run
from amsgrad_exp.engines.driver import drive
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.records import recorder
from amsgrad_exp.records.verify_run import verify
from amsgrad_exp.rules.claims import Claim, Kind
from amsgrad_exp.schedules import SCHEDULES, Constant, Cosine, Inverse, InverseSquareRoot, Linear, Schedule, Step
from amsgrad_exp.spec.gauntlet import Gauntlet
from amsgrad_exp.spec.read import resolve
from amsgrad_exp.spec.schedule import schedule_of, written
from tests.conftest import CommandLine
from tests.trials import finished
from tests.watching import Watched


@pytest.mark.parametrize(
    ("given", "text", "schedule"),
    [
        ("constant", "constant", Constant(0.5)),
        ("inv-sqrt", "inv-sqrt", InverseSquareRoot(0.5)),
        ({"name": "inv-sqrt"}, "inv-sqrt", InverseSquareRoot(0.5)),
        ("inv-sqrt:c=1,every=1", "inv-sqrt", InverseSquareRoot(0.5)),
        ("inv-sqrt:c=1e-2", "inv-sqrt:c=0.01", InverseSquareRoot(0.5, c=0.01)),
        ("inv", "inv", Inverse(0.5)),
        ("step:every=1e3,gamma=0.1", "step:every=1000", Step(0.5, every=1000)),
        ("linear:final=0", "linear", Linear(0.5)),
        ("cosine:warmup=1000,final=0.1", "cosine:final=0.1,warmup=1000", Cosine(0.5, final=0.1, warmup=1000)),
        ({"name": "constant", "warmup": "1e2"}, "constant:warmup=100", Constant(0.5, warmup=100)),
        ({"name": "inv-sqrt", "every": 10, "c": "3"}, "inv-sqrt:c=3.0,every=10", InverseSquareRoot(0.5, 3, 10)),
    ],
)
def test_a_schedule_may_be_a_name_a_text_or_a_mapping(given: Any, text: str, schedule: Schedule) -> None:
    assert written(given) == written(text) == text
    experiment = resolve({"schedule": given, "optimizers": [{"name": "adam", "lr": 0.5}]})
    (trial,) = experiment.trials()
    assert trial.schedule == text
    assert f"schedule: {text}\n" in experiment.to_yaml()
    assert schedule_of(trial) == dataclasses.replace(schedule, steps=10_000_000)


def from_torch(schedule: str, steps: int, lr: float) -> list[float]:
    """The step sizes of a schedule, computed by torch.optim.lr_scheduler."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    name, _, said = schedule.partition(":")
    constants = {key: float(value) for key, value in (each.split("=") for each in said.split(",") if each)}
    warmup, c, every = int(constants.get("warmup", 0)), constants.get("c", 1.0), constants.get("every", 1.0)
    length, final = steps - warmup, constants.get("final", 0.0)
    main: lr_scheduler.LRScheduler
    if name == "step":
        main = lr_scheduler.StepLR(optimizer, int(every), constants.get("gamma", 0.1))
    elif name == "linear":
        main = lr_scheduler.LinearLR(optimizer, 1.0, final, length)
    elif name == "cosine":
        main = lr_scheduler.CosineAnnealingLR(optimizer, length, lr * final)
    else:
        power = {"constant": 0.0, "inv-sqrt": 0.5, "inv": 1.0}[name]
        main = lr_scheduler.LambdaLR(optimizer, lambda t: (1 + c * (t // every)) ** -power)
    if warmup:
        rising = lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, warmup)
        main = lr_scheduler.SequentialLR(optimizer, [rising, main], [warmup])
    sizes = []
    for _ in range(steps):
        sizes.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        main.step()
    return sizes


EVERY_SCHEDULE = (
    "constant",
    "inv-sqrt:c=0.3,every=4",
    "inv",
    "inv:c=0.01,every=7",
    "step:every=50,gamma=0.3",
    "linear",
    "linear:final=0.25",
    "cosine",
    "cosine:final=0.1",
)


@pytest.mark.parametrize("warmup", ["", "warmup=1", "warmup=60"])
@pytest.mark.parametrize("name", EVERY_SCHEDULE)
@pytest.mark.filterwarnings("ignore:.*lr_scheduler")
def test_step_sizes_equal_torchs(name: str, warmup: str) -> None:
    schedule = name + (("," if ":" in name else ":") + warmup if warmup else "")
    (trial,) = resolve({"schedule": schedule, "steps": 300, "optimizers": [{"name": "adam", "lr": 0.3}]}).trials()
    ours = schedule_of(trial).step_sizes(0, 300)
    np.testing.assert_allclose(ours, from_torch(schedule, 300, 0.3), rtol=1e-12, atol=1e-12)
    assert (ours > 0).all()


@some(
    name=st.sampled_from(EVERY_SCHEDULE),
    warmup=st.sampled_from([0, 1, 40, 10**10 + 50]),
    begin=st.sampled_from([0, 10**10]),
    parts=st.lists(st.integers(0, 100), max_size=4),
    steps=st.integers(10**11, 10**18),
)
def test_step_sizes_do_not_depend_on_the_range_requested(
    name: str, warmup: int, begin: int, parts: list[int], steps: int
) -> None:
    schedule = name if warmup == 0 else f"{name}{',' if ':' in name else ':'}warmup={warmup}"
    (trial,) = resolve({"schedule": schedule, "steps": steps, "log_every": steps, "optimizers": ["sgd"]}).trials()
    made = schedule_of(trial)
    cuts = [begin + cut for cut in sorted({0, 100, *parts})]
    whole = made.step_sizes(begin, begin + 100).tolist()
    assert [size for at, end in itertools.pairwise(cuts) for size in made.step_sizes(at, end)] == whole
    assert made.constant == (name == "constant" and warmup == 0)
    assert len(set(whole)) == 1 or not made.constant


def test_the_last_step_of_a_long_run_is_not_0() -> None:
    for schedule in (Linear(1.0, steps=10**18), Cosine(1.0, steps=10**9)):
        (last,) = schedule.step_sizes(schedule.steps - 1, schedule.steps)
        assert 0 < last < 1e-17


@pytest.mark.parametrize("schedule", ["inv", "step:every=100", "linear:warmup=30", "cosine:final=0.1,warmup=1"])
@pytest.mark.parametrize("optimizer", ["adam", "adabound"])
def test_both_engines_use_the_same_step_sizes(schedule: str, optimizer: str) -> None:
    """Also, no step is derived by fast-forwarding."""
    results = []
    for engine in ("compiled", "torch"):
        entry = {"name": optimizer, "lr": 0.5}
        given = {"schedule": schedule, "steps": 700, "log_every": 7, "dtype": "float64", "engine": engine}
        (trial,) = resolve({**given, "problem": {"name": "online", "period": 5}, "optimizers": [entry]}).trials()
        chunks = list(drive(engines.build(trial), trial.steps, trial.log_every, fast_forward=True))
        assert chunks[-1].steps_simulated == 700
        results.append(np.concatenate([chunk.trace.x for chunk in chunks]))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-9, atol=1e-9)


def test_a_trend_is_undecided_if_step_sizes_depend_on_the_number_of_steps() -> None:
    for schedule, undecided in (("cosine", True), ("linear:warmup=9", True), ("inv", False), ("step:every=9", False)):
        given = {"schedule": schedule, "steps": 20_000, "problem": {"name": "online", "period": 5}}
        (trial,) = resolve({**given, "optimizers": ["adam"]}).trials()
        _, result = finished(trial)
        assert (result.regret_trend == "undecided") == undecided
        assert ("depends on T" in result.undecided_because(trial.problem, schedule_of(trial))) == undecided


def test_a_claim_about_step_sizes_does_not_cover_those_with_a_warmup() -> None:
    for schedule, covered in (("inv-sqrt", True), ("inv-sqrt:c=2", True), ("inv-sqrt:warmup=9", False), ("inv", False)):
        (trial,) = resolve({"schedule": schedule, "optimizers": ["amsgrad"]}).trials()
        assert Claim(Kind.REGRET).covers(trial.optimizer, trial.problem, trial.schedule) == covered


def test_a_gauntlet_has_two_schedules_by_default_and_takes_any() -> None:
    assert Gauntlet.of(optimizers=["adam"], steps=100).data["schedules"] == ["constant", "inv-sqrt"]
    gauntlet = Gauntlet.of(optimizers=["adam"], problems=["online"], steps=100, schedules=["cosine:warmup=1e1", "inv"])
    assert [gauntlet.trial(cell).schedule for cell in range(4)] == ["cosine:warmup=10"] * 2 + ["inv"] * 2
    with pytest.raises(ConfigError, match=r"^schedules: unknown name 'cosin', did you mean cosine"):
        Gauntlet.of(optimizers=["adam"], schedules=["cosin"])


@pytest.mark.parametrize("optimizer", ["amsgrad", "torch.optim.SGD"])
def test_a_resumed_run_uses_the_same_step_sizes(optimizer: str, tmp_path: Path) -> None:
    steps = 3_000_000 if optimizer == "amsgrad" else 20_000
    experiment = Experiment(
        problem="online",
        schedule="cosine:warmup=1000,final=0.1",
        steps=steps,
        log_every=steps // 1000,
        optimizers=[optimizer],
    )
    stopped = run(experiment, tmp_path / "a", Watched(1))
    assert stopped.summary.status == "interrupted"
    assert 0 < len(stopped.trace) < 1000
    resumed = recorder.resume(stopped)
    assert resumed.summary.trace_sha256 == run(experiment, tmp_path / "b").summary.trace_sha256
    assert verify(resumed, None).first_step is None


def test_the_commands_take_any_schedule(in_process: CommandLine, tmp_path: Path) -> None:
    common = ["--steps=2000", "--no-figure", "--quiet"]
    schedule = "cosine:warmup=100,final=0.1"
    assert in_process("compare", "--schedule", schedule, *common).returncode == 0
    assert in_process("verify", "last").returncode == 0
    grid = ["--grid=beta2=0.9,0.99", "--optimizer=adam"]
    assert in_process("sweep", *grid, "--schedule", schedule, *common, "--export=csv").returncode == 0
    gauntlet = ["--optimizer=adam", "--problem=online", "--problem=theorem1", f"--schedule={schedule}"]
    done = in_process("gauntlet", *gauntlet, "--steps=2000", "--no-figure")
    assert done.returncode == 0
    assert f"the optimizer's default settings, schedule {schedule.split(':')[0]}:final=0.1,warmup=100" in done.stdout
    listed = in_process("list", "schedules").stdout
    assert all(name in listed for name in (*SCHEDULES, "warmup=W", "final=0", "every=…"))
