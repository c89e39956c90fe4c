"""What ``--bound`` shows, in the document, in a table, in a figure and from Python; and what it refuses."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from amsgrad_exp import bound, run
from amsgrad_exp.bounds import MOST_STEPS, Bound, Bounds, Published, bounds_of, published, refuse
from amsgrad_exp.charts.style import COLOURS
from amsgrad_exp.charts.traces import regret_and_iterate
from amsgrad_exp.cli import runs as cli
from amsgrad_exp.cli.signals import Onlooker
from amsgrad_exp.errors import NoBound, RunFailed
from amsgrad_exp.problems import PROBLEMS, Cycle, Online, Stochastic
from amsgrad_exp.schedules import Constant, InverseSquareRoot
from amsgrad_exp.spec.read import resolve
from amsgrad_exp.trace import Trace
from tests.conftest import CommandLine
from tests.scenes import Placed, Scene, View, drawn, pixels
from tests.trials import make_trial

REFUSED = [
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


@pytest.mark.parametrize(("optimizer", "problem", "changed", "words"), REFUSED, ids=lambda part: str(part)[:40])
def test_where_no_bound_is_known_that_is_one_line(optimizer: str, problem: Any, changed: Any, words: str) -> None:
    trial = make_trial(optimizer, problem, Constant(0.1), **changed)
    with pytest.raises(NoBound, match=words) as refused:
        refuse(trial)
    assert "\n" not in str(refused.value)


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
def test_a_theorem_whose_conditions_do_not_hold_promises_nothing(optimizer: str, changed: Any, words: str) -> None:
    trial = make_trial(optimizer, **{"problem": Online(), "schedule": InverseSquareRoot(1.0), "steps": 100, **changed})
    with pytest.raises(NoBound, match=words):
        published(trial)
    known = bounds_of(trial)
    assert known.published is None
    assert (known.reason is None) == (optimizer == "adam")


def test_moves_that_overflow_have_no_bound() -> None:
    trial = make_trial("sgd", Cycle(slopes=(1e150, -1e149)), Constant(1e10), dtype="float64", steps=10)
    with pytest.raises(RunFailed, match="is not finite"):
        bounds_of(trial)


BOUND_KEYS = ["total", "end", "distance", "moves", "growth", "published"]


def test_a_bound_stands_in_the_document_and_beside_the_run(in_process: CommandLine, tmp_path: Path) -> None:
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
    done = in_process(*asked)
    assert "bound on R(T)/T = end + distance + moves" in done.stdout


def test_a_comparison_and_recorded_runs_have_bounds(in_process: CommandLine, tmp_path: Path) -> None:
    asked = ["compare", "--schedule", "inv-sqrt", "--steps", "20000", "--bound"]
    done = in_process(*asked, "--json")
    assert done.stderr.startswith("amsgrad: no published bound: Theorem 4 of ")
    assert [list(each["bound"]) for each in json.loads(done.stdout)["runs"]] == [BOUND_KEYS] * 2
    runs = sorted(str(path) for path in tmp_path.glob("logs/synthetic/*") if path.is_dir())
    drawn = in_process("plot", "--bound", *runs)
    assert drawn.returncode == 0
    assert [line.split()[0] for line in drawn.stdout.splitlines()] == [
        "bound",
        "optimizer",
        "adam",
        "amsgrad",
        "figure",
    ]
    assert (tmp_path / "figure.svg").stat().st_size > 10_000


def test_a_bound_that_cannot_be_is_refused_before_anything_is_run(in_process: CommandLine, tmp_path: Path) -> None:
    done = in_process("compare", "--optimizer", "adopt", "--optimizer", "torch.optim.SGD", "--steps", "1000", "--bound")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "amsgrad-exp: a regret bound for adopt is known only for beta1 = 0, not 0.9\n"
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_shows_the_bounds_that_are_known(in_process: CommandLine, tmp_path: Path) -> None:
    asked = ["compare", "--optimizer", "adam", "--optimizer", "adopt", "--steps", "1000", "--bound"]
    done = in_process(*asked, "--json")
    assert done.stderr == "adopt: a regret bound for adopt is known only for beta1 = 0, not 0.9\n"
    assert ["bound" in each for each in json.loads(done.stdout)["runs"]] == [True, False]
    (svg,) = tmp_path.glob("logs/synthetic/compare-*.svg")
    assert "bound" in svg.read_text()


def test_a_bound_is_given_up_where_the_user_asks_to_stop(tmp_path: Path) -> None:
    recorded = run(resolve({"optimizers": ["adam"], "steps": 1000}), tmp_path)
    interruption = Onlooker()
    interruption.signal = signal.SIGTERM
    with pytest.raises(typer.Exit) as ended:
        cli.bounds_of({"adam": recorded}, interruption, quiet=True)
    assert ended.value.exit_code == 143


def test_the_bound_of_a_run_from_python(tmp_path: Path) -> None:
    recorded = run(resolve({"optimizers": ["adam"], "steps": 5000}), tmp_path)
    known = bound(recorded)
    assert np.array_equal(known.at(recorded.trace.step).trajectory.step, recorded.trace.step)
    assert known.trajectory.total[-1] >= recorded.result.total_regret


__all__ = ["drawn"]


def trace(regret: np.ndarray) -> Trace:
    step = 10 * np.arange(1, len(regret) + 1) - 1
    return Trace(step, regret, np.linspace(0, -1, len(regret)), regret)


def heights(view: View, points: list[Placed], log: bool = True) -> np.ndarray:
    """The values of a line's points, read off the view's axis between two of its labels."""
    labels = [
        (float(placed.text.replace("−", "-")), placed.at[1])
        for placed in view.items
        if placed.role == "axis-label" and placed.item["align"] == "right" and placed.text.replace(".", "").isdigit()
    ]
    (low, at_low), *_, (high, at_high) = sorted(labels)
    ends = np.log([low, high]) if log else np.array([low, high])
    read: np.ndarray = ends[0] + (np.array([placed.at[1] for placed in points]) - at_low) / (at_high - at_low) * (
        ends[1] - ends[0]
    )
    return np.exp(read) if log else read


def test_bounds_stand_beside_the_regret_and_their_terms_in_a_panel_of_their_own(
    drawn: list[Scene], tmp_path: Path
) -> None:
    """On logarithmic axes, over t and over √t; at the steps that the traces show, whatever others they are known at."""
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
    """On a logarithmic axis, as far as they are positive."""
    of_one = trace(np.linspace(-3, 1, 100))
    known = Bound(of_one.step, np.zeros(100), of_one.regret * (of_one.step + 1), np.zeros(100))
    png, _ = regret_and_iterate(tmp_path / "figure", {"adam": of_one}, Online(), {"adam": Bounds(known)})
    positive = of_one.regret[of_one.regret > 0]
    for points in drawn[0].panels[0].lines().values():
        np.testing.assert_allclose(heights(drawn[0].panels[0], points), positive, rtol=0.02)
    assert pixels(png).shape[1] == 2 * drawn[0].width
