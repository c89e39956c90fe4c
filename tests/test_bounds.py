"""Tests of bounds on the regret: they are never below it, equal their formulas, and are shown or rejected."""

import json
import math
import signal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from amsgrad_exp import bound, run
from amsgrad_exp.bounds import MOST_STEPS, Bound, Bounds, Published, bounds_of, published, refuse
from amsgrad_exp.charts.style import COLOURS
from amsgrad_exp.charts.traces import regret_and_iterate
from amsgrad_exp.cli import runs as cli
from amsgrad_exp.cli.signals import Onlooker
from amsgrad_exp.engines import build
from amsgrad_exp.errors import NoBound, RunFailed
from amsgrad_exp.problems import PROBLEMS, Cycle, Online, Stochastic
from amsgrad_exp.problems.convergence import BockWeiss
from amsgrad_exp.rules import hyper_of, rule_of
from amsgrad_exp.schedules import Constant, InverseSquareRoot
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.read import resolve
from tests.agreement import CYCLE, EVERY
from tests.conftest import CommandLine
from tests.scenes import Placed, Scene, View, drawn, pixels, trace
from tests.trials import in_python, make_trial

STEPS = 60
EPS = 1e-3  # with less, AvaGrad's second update is so small that its square distances differ by rounding alone
NEVER = {"adamw", "nadam", "lion", "adan", "adopt", "adashift"}
"""Optimizers whose updates are along no mean of gradients, unless one of their settings is 0."""
ALONG_A_MEAN = [
    (name, variant)
    for name, variant in EVERY
    if not (name in NEVER or (name == "rmsprop" and variant))
    or (name == "adashift" and variant.get("options", {}).get("n") == 1)
]
AT_ZERO: list[tuple[str, dict[str, Any]]] = [
    *((name, {"betas": (0.0, 0.9)}) for name in ("adopt", "adashift", "nadam", "lion")),
    ("adan", {"betas": (0.9, 0.0)}),
    ("adamw", {"options": {"weight_decay": 0.0}}),
    ("rmsprop", {"options": {"centered": True, "momentum": 0.0}}),
]
DECAYS: list[dict[str, Any]] = [
    {"beta1_decay": "none"},
    {"beta1_decay": "geometric", "lam": 0.8},
    {"beta1_decay": "harmonic"},
]
THEOREMS = [
    *(("amsgrad", {"options": {"dialect": "paper", **decay}}) for decay in DECAYS),
    *(("adamnc", {"options": decay}) for decay in DECAYS),
]


class Walked(NamedTuple):
    """The quantities of the proof, by step, computed in plain Python; ``m`` begins with m_0."""

    loss: list[float]
    g: list[float]
    beta1: list[float]
    m: list[float]
    move: list[float]
    x: list[float]


def walked(trial: Trial, steps: int = STEPS) -> Walked:
    rule, h = rule_of(trial.optimizer), hyper_of(trial.optimizer)
    assert rule.mean is not None
    problem = trial.problem
    path = Walked([], [], [], [], [], [float(problem.start)])
    for p, step in zip(problem.coefficients(0, steps, trial.seed).T.tolist(), in_python(trial, steps), strict=True):
        if not path.m:
            path.m.append(float(rule.mean.of(0.0, step.c, h, *rule.state.values())[0]))
        m, beta1 = rule.mean.of(step.g, step.c, h, *step.state)
        path.loss.append(problem.loss(path.x[-1], *p) - problem.loss(problem.optimum, *p))
        for column, number in zip(path[1:], (step.g, beta1, m, step.move, step.x), strict=True):
            column.append(float(number))
    return path


def terms(path: Walked, optimum: float, steps: int) -> tuple[float, float, float]:
    """The terms end, distance and moves of docs/method.md over the first ``steps`` steps."""
    rho = [beta1 / (1 - beta1) for beta1 in path.beta1[:steps]]
    rho.append(rho[-1])
    off = [x - optimum for x in path.x]
    distance = moves = 0.0
    for t in range(steps):
        m, move, w = path.m[t + 1], path.move[t], 1 + rho[t] - rho[t + 1]
        if move == 0:
            distance += w * m * off[t]
        else:
            eta = move / m
            distance += w * (off[t] ** 2 - off[t + 1] ** 2) / (2 * eta)
            moves += (w / 2 + rho[t + 1]) * eta * m**2
    return rho[-1] * path.m[steps] * off[steps - 1] - rho[0] * path.m[0] * off[0], distance, moves


def trial_of(optimizer: str, variant: dict[str, Any], slopes: list[float], **changed: Any) -> Trial:
    assume(abs(sum(slopes)) > 1e-3 and all(abs(slope) > 1e-3 for slope in slopes))
    schedule = changed.pop("schedule", InverseSquareRoot(0.5))
    given = {"eps": EPS, "dtype": "float64", "steps": STEPS, "log_every": 1} | changed | variant
    return make_trial(optimizer, Cycle(slopes=tuple(slopes)), schedule, **given)


SLOPES = st.lists(st.floats(-20, 20), min_size=1, max_size=7)
BETAS = st.tuples(st.sampled_from([0.0, 0.5, 0.9, 0.99]), st.sampled_from([0.3, 0.9, 0.999]))
STEP_SIZES = st.floats(1e-3, 10)


@pytest.mark.parametrize(("optimizer", "variant"), ALONG_A_MEAN + AT_ZERO, ids=str)
@settings(max_examples=15)
@given(slopes=SLOPES, betas=BETAS, lr=STEP_SIZES, schedule=st.sampled_from([Constant, InverseSquareRoot]))
def test_the_regret_is_never_above_the_bound_of_its_trajectory(
    optimizer: str, variant: dict[str, Any], slopes: list[float], betas: tuple[float, float], lr: float, schedule: Any
) -> None:
    """The updates are along a mean of gradients, which the proof requires."""
    trial = trial_of(optimizer, variant, slopes, betas=betas, schedule=schedule(lr))
    path = walked(trial)
    size = max(map(abs, path.g)) / (1 - max(path.beta1))
    for before, m, beta1, g in zip(path.m, path.m[1:], path.beta1, path.g, strict=False):
        assert m == pytest.approx(beta1 * before + (1 - beta1) * g, abs=1e-12 * size)
    assert all(move * m >= 0 for move, m in zip(path.move, path.m[1:], strict=True))
    assert all(move == 0 for move, m in zip(path.move, path.m[1:], strict=True) if m == 0)
    assert path.beta1 == sorted(path.beta1, reverse=True)
    for steps in (1, 2, 3, 7, 20, STEPS):
        total = math.fsum(path.loss[:steps])
        end, distance, moves = terms(path, trial.problem.optimum, steps)
        rounding = 1e-9 * (1 + abs(total) + abs(distance) + abs(moves)) * size
        assert end + distance + moves >= total - rounding


@pytest.mark.parametrize("betas", [(0.0, 0.99), (0.9, 0.99)])
@pytest.mark.parametrize("name", [name for name, kind in PROBLEMS.items() if kind.convex and name != "cycle"])
def test_the_regret_is_never_above_the_bound_on_any_convex_problem(name: str, betas: tuple[float, float]) -> None:
    trial = make_trial("adam", PROBLEMS[name].model_validate({}), Constant(0.1), dtype="float64", betas=betas, eps=1e-8)
    path, total = walked(trial, 400), 0.0
    for steps, loss in enumerate(path.loss, start=1):
        total += loss
        bounded = terms(path, trial.problem.optimum, steps)
        assert sum(bounded) >= total - 1e-9 * (1 + abs(total) + sum(map(abs, bounded)))


@pytest.mark.parametrize(
    ("optimizer", "variant"),
    [
        ("adam", {}),
        ("adamnc", {"options": {"beta1_decay": "geometric", "lam": 0.9}}),
        ("adagrad", {}),
        ("avagrad", {}),
        ("signsgd", {}),
        ("yogi", {}),
        ("adamw", {"options": {"weight_decay": 0.0}}),
    ],
    ids=str,
)
def test_terms_equal_the_formulas(optimizer: str, variant: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """In one chunk or several, at the logged steps and at the last one, and for losses of one or two coefficients."""
    for problem in (CYCLE, BockWeiss()):
        trial = make_trial(
            optimizer, problem, InverseSquareRoot(0.5), dtype="float32", eps=EPS, steps=200, log_every=7, **variant
        )
        whole = bounds_of(trial).trajectory
        assert whole.step.tolist() == [*range(6, 200, 7), 199]
        path = walked(trial, 200)
        for row, step in enumerate(whole.step.tolist()):
            expected = terms(path, problem.optimum, step + 1)
            got = [float(term[row]) for term in whole.terms.values()]
            assert got == pytest.approx(expected, rel=1e-9, abs=1e-9 * sum(map(abs, expected)))
        with monkeypatch.context() as patch:
            patch.setattr("amsgrad_exp.bounds.CHUNK", 31)
            pieces = bounds_of(trial).trajectory
        assert np.array_equal(pieces.total, whole.total)


def test_the_bound_is_above_the_regret_of_the_engines_run() -> None:
    """In float64 over 10⁵ steps; AMSGrad's bound is almost an equality."""
    for optimizer, slack in (("adam", math.inf), ("amsgrad", 1e-3)):
        trial = make_trial(optimizer, Online(), InverseSquareRoot(1.0), dtype="float64", steps=100_000, log_every=100)
        trace = build(trial).advance(100_000, 100).runs(0)
        known = bounds_of(trial).trajectory
        average = known.total / (known.step + 1)
        assert np.all(average >= trace.regret - 1e-9)
        assert np.all(average <= trace.regret * (1 + slack))


def test_only_the_distance_grows_linearly_for_adam() -> None:
    growths = {}
    for optimizer in ("adam", "amsgrad"):
        trial = make_trial(optimizer, Online(), InverseSquareRoot(1.0), steps=1_000_000, log_every=1000)
        growths[optimizer] = bounds_of(trial).trajectory.growth()
        assert growths[optimizer]["moves"] == pytest.approx(0.5, abs=0.02)
    assert growths["adam"]["distance"] == pytest.approx(1, abs=0.02)
    assert growths["amsgrad"]["distance"] is not None
    assert growths["amsgrad"]["distance"] < 0.1


def theorem(trial: Trial, steps: int) -> float:
    """Theorem 4 or 5 of Reddi et al. 2018, line by line, over the list of all gradients so far."""
    options, alpha = trial.optimizer.options, trial.optimizer.lr
    beta1, beta2, eps = trial.optimizer.beta1 or 0.0, trial.optimizer.beta2 or 0.0, trial.optimizer.eps or 0.0
    low, high = trial.problem.interval
    squares = [float(g) ** 2 for g in trial.problem.coefficients(0, steps, trial.seed)[0]]
    v = largest = weighted = 0.0
    for t, square in enumerate(squares, start=1):
        if trial.optimizer.name == "amsgrad":
            v = beta2 * v + (1 - beta2) * square
            largest = max(largest, v)
        else:
            largest = math.fsum(squares[:t]) / t
        over = (math.sqrt(largest) + eps) / (alpha / math.sqrt(t))
        lam: Any = options.get("lam", 0.0)
        weighted += {"none": beta1, "geometric": beta1 * lam ** (t - 1), "harmonic": beta1 / t}[
            str(options["beta1_decay"])
        ] * over
    width, norm = high - low, math.sqrt(math.fsum(squares))
    second = width**2 / (1 - beta1) ** 2 * weighted
    if trial.optimizer.name == "adamnc":
        return width**2 * over / (2 * (1 - beta1)) + second + 2 * alpha / (1 - beta1) ** 3 * norm
    gamma = beta1 / math.sqrt(beta2)
    third = alpha * math.sqrt(1 + math.log(steps)) / ((1 - beta1) ** 2 * (1 - gamma) * math.sqrt(1 - beta2))
    return width**2 * over / (1 - beta1) + second + third * norm


@pytest.mark.parametrize(("optimizer", "variant"), THEOREMS, ids=str)
@settings(max_examples=25)
@given(slopes=SLOPES, betas=BETAS, lr=STEP_SIZES)
def test_a_published_bound_equals_its_theorem_and_is_above_the_trajectorys_bound(
    optimizer: str, variant: dict[str, Any], slopes: list[float], betas: tuple[float, float], lr: float
) -> None:
    assume(betas[0] < math.sqrt(betas[1]))
    trial = trial_of(optimizer, variant, slopes, betas=betas, schedule=InverseSquareRoot(lr), log_every=13)
    path, known = walked(trial), published(trial)
    for step, total in zip([*range(12, STEPS, 13), STEPS - 1], known.total.tolist(), strict=True):
        assert total == pytest.approx(theorem(trial, step + 1), rel=1e-9)
        assert total >= sum(terms(path, trial.problem.optimum, step + 1)) - 1e-9 * total


def test_a_published_bound_computed_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for optimizer, variant in THEOREMS:
        trial = make_trial(optimizer, Stochastic(), InverseSquareRoot(1.0), steps=1000, log_every=7, **variant)
        whole = published(trial)
        with monkeypatch.context() as patch:
            patch.setattr("amsgrad_exp.bounds.CHUNK", 31)
            pieces = published(trial)
        np.testing.assert_allclose(pieces.total, whole.total, rtol=1e-12)


NO_BOUND = [
    ("adam", Online(), {"steps": MOST_STEPS + 1, "log_every": 10**6}, "at most 1,000,000,000, not 1,000,000,001"),
    ("adam", PROBLEMS["components"].model_validate({}), {}, "convex losses, and components has losses that are not"),
    ("adam", PROBLEMS["shi-realizable"].model_validate({}), {}, "convex losses"),
    ("adam", Stochastic(), {"seeds": 2}, "use one seed"),
    ("torch.optim.Adam", Online(), {}, "is known for torch.optim.Adam: it has no update rule in this package"),
    ("adamw", Online(), {}, "for adamw is known only for weight_decay = 0, not 0.01"),
    ("rmsprop", Online(), {"options": {"momentum": 0.9}}, "for rmsprop is known only for momentum = 0, not 0.9"),
    ("adan", Online(), {}, "for adan is known only for beta2 = 0, not 0.99"),
    *((name, Online(), {}, f"{name} is known only for beta1 = 0, not 0.9") for name in ("adopt", "nadam", "lion")),
    ("adashift", Online(), {}, "adashift is known only for beta1 = 0, not 0.9"),
]


@pytest.mark.parametrize(("optimizer", "problem", "changed", "words"), NO_BOUND, ids=lambda part: str(part)[:40])
def test_the_error_says_why_no_bound_is_known(optimizer: str, problem: Any, changed: Any, words: str) -> None:
    trial = make_trial(optimizer, problem, Constant(0.1), **changed)
    with pytest.raises(NoBound, match=words) as rejected:
        refuse(trial)
    assert "\n" not in str(rejected.value)


PAPER = {"options": {"dialect": "paper"}}
UNBOUNDED = {"problem": PROBLEMS["adashift-sequential"].model_validate({})}


@pytest.mark.parametrize(
    ("optimizer", "changed", "words"),
    [
        ("adam", {}, "no published regret bound is implemented for adam"),
        ("amsgrad", {}, "Theorem 4 .* dialect paper, not torch"),
        ("amsgrad", {"schedule": Constant(1.0), **PAPER}, "Theorem 4 .* schedule inv-sqrt, not constant"),
        ("amsgrad", {"betas": (0.9, 0.5), **PAPER}, "β1 < √β2, not β1 = 0.9 and β2 = 0.5"),
        ("adamnc", {"schedule": InverseSquareRoot(1.0, c=0.5)}, "Theorem 5 .* inv-sqrt, not inv-sqrt:c=0.5"),
        ("adamnc", UNBOUNDED, "Theorem 5 .* bounded interval: adashift-sequential has none"),
    ],
    ids=str,
)
def test_there_is_no_published_bound_if_the_theorems_conditions_fail(optimizer: str, changed: Any, words: str) -> None:
    trial = make_trial(optimizer, **{"problem": Online(), "schedule": InverseSquareRoot(1.0), "steps": 100, **changed})
    with pytest.raises(NoBound, match=words):
        published(trial)
    known = bounds_of(trial)
    assert known.published is None
    assert (known.reason is None) == (optimizer == "adam")


def test_a_run_whose_updates_overflow_has_no_bound() -> None:
    trial = make_trial("sgd", Cycle(slopes=(1e150, -1e149)), Constant(1e10), dtype="float64", steps=10)
    with pytest.raises(RunFailed, match="is not finite"):
        bounds_of(trial)


BOUND_KEYS = ["total", "end", "distance", "moves", "growth", "published"]


def test_run_shows_its_bound_in_document_output_and_figure(in_process: CommandLine, tmp_path: Path) -> None:
    options = ["--option", "dialect=paper", "--option", "beta1_decay=harmonic", "--schedule", "inv-sqrt"]
    asked = ["run", "--optimizer", "amsgrad", "--steps", "12345", "--log-every", "1000", "--bound", *options]
    done = in_process(*asked, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (document,) = json.loads(done.stdout)["runs"]
    known = document["bound"]
    assert list(known) == BOUND_KEYS
    assert known["total"] == pytest.approx(known["end"] + known["distance"] + known["moves"])
    assert document["total_regret"] < known["total"] < known["published"]["total"]
    assert known["published"]["source"] == "Theorem 4 of Reddi, Kale and Kumar 2018"
    assert list(known["growth"]) == ["distance", "moves"]
    (svg,) = tmp_path.glob("logs/synthetic/run-*.svg")
    assert svg.stat().st_size > 10_000
    assert "bound on R(T)/T = end + distance + moves" in in_process(*asked).stdout
    done = in_process("plot", "last", "--bound")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["bound", "optimizer", "amsgrad", "figure"]
    assert (tmp_path / "figure.svg").stat().st_size > 10_000


def test_compare_shows_the_bounds_that_are_known(in_process: CommandLine, tmp_path: Path) -> None:
    asked = ["compare", "--steps", "1000", "--bound", "--optimizer", "adopt"]
    rejected = in_process(*asked, "--optimizer", "torch.optim.SGD")
    reason = "a regret bound for adopt is known only for beta1 = 0, not 0.9"
    assert (rejected.returncode, rejected.stdout, rejected.stderr) == (2, "", f"amsgrad-exp: {reason}\n")
    assert list(tmp_path.iterdir()) == []
    done = in_process(*asked, "--optimizer", "amsgrad", "--json")
    assert done.stderr.startswith(f"adopt: {reason}\namsgrad: no published bound: Theorem 4 of ")
    adopt, amsgrad = json.loads(done.stdout)["runs"]
    assert "bound" not in adopt
    assert list(amsgrad["bound"]) == BOUND_KEYS
    (svg,) = tmp_path.glob("logs/synthetic/compare-*.svg")
    assert "bound" in svg.read_text()


def test_the_bound_of_a_recorded_run_can_be_interrupted(tmp_path: Path) -> None:
    recorded = run(resolve({"optimizers": ["adam"], "steps": 5000}), tmp_path)
    known = bound(recorded)
    assert np.array_equal(known.at(recorded.trace.step).trajectory.step, recorded.trace.step)
    assert known.trajectory.total[-1] >= recorded.result.total_regret
    interruption = Onlooker()
    interruption.signal = signal.SIGTERM
    with pytest.raises(typer.Exit) as ended:
        cli.bounds_of({"adam": recorded}, interruption, quiet=True)
    assert ended.value.exit_code == 143


__all__ = ["drawn"]


def heights(view: View, points: list[Placed]) -> np.ndarray:
    """The values of a line's points, computed from their places between two labels of the view's logarithmic axis."""
    labels = [
        (float(placed.text.replace("−", "-")), placed.at[1])
        for placed in view.items
        if placed.role == "axis-label" and placed.item["align"] == "right" and placed.text.replace(".", "").isdigit()
    ]
    (low, at_low), *_, (high, at_high) = sorted(labels)
    across = (np.array([placed.at[1] for placed in points]) - at_low) / (at_high - at_low)
    values: np.ndarray = low * (high / low) ** across
    return values


def test_a_figure_shows_bounds_beside_the_regret_and_their_terms_in_a_panel(drawn: list[Scene], tmp_path: Path) -> None:
    """On logarithmic axes, divided by t and by √t, at the steps of the traces only."""
    traces = {"adam": trace(np.full(40, 0.5)), "amsgrad": trace(np.full(40, 0.1))}
    step = np.append(traces["adam"].step, 405)
    known = Bound(step, -np.sqrt(step), 2.0 * (step + 1), np.sqrt(step + 1))
    bounds = {"adam": Bounds(known), "amsgrad": Bounds(known, Published("a theorem", 9.0 * (step + 1)))}
    regret_and_iterate(tmp_path / "figure", traces, Online(), bounds)
    regret, terms, iterate = drawn[0].panels
    kinds = ["bound on R(t)/t", "published bound", "distance", "moves", "largest end"]
    assert drawn[0].legend == ["adam", "amsgrad", *kinds]
    assert [view.texts("title-text") for view in (terms, iterate)] == [["|term of the bound| / √t"], ["iterate x"]]
    t = traces["adam"].step + 1
    total = float(known.total[-2] / t[-1])
    lines = {key: heights(regret, points) for key, points in regret.lines().items()}
    assert all(len(values) == len(t) for values in lines.values())
    (colour, other) = COLOURS[:2]
    ends = {key: pytest.approx(values[-1], rel=0.02) for key, values in lines.items()}
    assert ends == {
        (colour, ()): total,
        (other, ()): total,
        (other, (1, 3)): 9.0,
        (colour, (1, 0)): 0.5,
        (other, (7, 3)): 0.1,
    }
    parts: dict[tuple[float, ...], np.ndarray] = {
        (): 2 * np.sqrt(t),
        (6, 3): np.ones(len(t)),
        (1, 3): np.sqrt((t - 1) / t),
    }
    drawn_terms = terms.lines()
    assert drawn_terms.keys() == {(line, dashes) for line in (colour, other) for dashes in parts}
    for (_, dashes), points in drawn_terms.items():
        np.testing.assert_allclose(heights(terms, points), parts[dashes], rtol=0.03)


def test_a_bound_of_a_negative_regret_is_drawn(drawn: list[Scene], tmp_path: Path) -> None:
    """On a logarithmic axis only the positive averages are drawn."""
    of_one = trace(np.linspace(-3, 1, 100))
    known = Bound(of_one.step, np.zeros(100), of_one.regret * (of_one.step + 1), np.zeros(100))
    png, _ = regret_and_iterate(tmp_path / "figure", {"adam": of_one}, Online(), {"adam": Bounds(known)})
    positive = of_one.regret[of_one.regret > 0]
    for points in drawn[0].panels[0].lines().values():
        np.testing.assert_allclose(heights(drawn[0].panels[0], points), positive, rtol=0.02)
    assert pixels(png).shape[1] == 2 * drawn[0].width
