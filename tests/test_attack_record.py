"""Tests of reading attack.json and the runs beside it, damaged or not, and of the page that shows them."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amsgrad_exp.attacks.attack_record import Attack
from amsgrad_exp.attacks.attacking import target
from amsgrad_exp.attacks.search import Limits
from amsgrad_exp.charts.traces import slopes_plot
from amsgrad_exp.errors import Damaged, NoSuchRun
from amsgrad_exp.records.files import write_document
from amsgrad_exp.report import attack_page
from amsgrad_exp.report.page import render
from tests.conftest import CommandLine
from tests.pages import FOLDER, Written, a_survivor, an_attack, recorded

# Keys that records from before there were checksums do not have.
SINCE = {"sha256", "settings", "limits", "search_seconds", "interrupted", "finished", "started", "origin"}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("attack")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(out))
        return an_attack(out / "attacks")


@pytest.fixture
def attack(kept: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(kept, tmp_path / "attacks" / "adam" / kept.name)


def page(directory: Path) -> Written:
    return Written(render(attack_page.page(directory)))


def words(directory: Path) -> str:
    """What the record says about its runs, and its facts."""
    attack = Attack.read(directory)
    return "\n".join([*attack.evidence.lost, *attack.facts().values()])


def older(directory: Path, **changes: Any) -> None:
    """Turn a record into one from before there were checksums, with some keys changed; "nothing" removes a key."""
    content = json.loads((directory / "attack.json").read_text())
    example = {name: content["counterexample"][name] for name in content["counterexample"]}
    del example["runs"], example["config_sha256"]
    old = {name: value for name, value in content.items() if name not in SINCE} | {"counterexample": example} | changes
    (directory / "attack.json").write_text(json.dumps({name: old[name] for name in old if old[name] != "nothing"}))


def test_the_page_has_the_problem_the_runs_and_the_command(attack: Path) -> None:
    made, record = page(attack), Attack.read(attack)
    assert record.counterexample
    assert [float(row["slope"]) for row in made.tables["slopes"]] == list(record.counterexample.slopes)
    assert "1,000 problems: fails on 7," in made.text
    assert "by 2 runs: from the middle, α/√t and constant, compiled, float32" in made.text
    assert "96 once, −1 ninety-five times, x* = −1" in made.text
    assert "fails: goes to the worst point, x = +1, and stays there" in made.text
    assert {point["curve"] for point in made.tables["points"]} == {"1", "2"}
    assert "−250 once, 1 for 200 steps" in made.text
    assert "The last problem was not confirmed" not in made.text
    assert "1,000 problems tried in 18.9 s, including 6.0 s of search and shrinking" in made.text
    assert made.facts["limit: max_period"] == ["4,096"]
    assert made.facts["option dialect"] == ['"torch"']
    assert made.facts["attack"] == ["1234abcd"]
    assert {"python", "numpy", "code"} < made.facts.keys()
    said = "amsgrad-exp attack --optimizer adam --lr=0.001 --beta1=0.9 --beta2=0.999 --eps=1e-08 --option"
    assert f"{said} 'dialect=\"torch\"' --seconds=6.0 --max-period=4096 --seed=0" in made.text
    record.model_copy(update={"shrinking": record.shrinking[:1]}).write()
    assert "The last problem was not confirmed" in page(attack).text
    record.model_copy(update={"shrinking": ()}).write()
    assert "How it was shrunk" not in page(attack).text


def test_labels_of_almost_equal_slopes_are_merged() -> None:
    plot = slopes_plot((171, 170, *[-1] * 341), "")
    axis = plot.specification["concat"][0]["layer"][0]["encoding"]["y"]["axis"]
    assert axis["values"] == [-1, 0, 171]
    assert json.loads(axis["labelExpr"].removesuffix("[datum.value]")[1:-1]) == {
        "-1": "−1",
        "0": "0",
        "171": "170, 171",
    }


def test_the_heading_names_settings_that_are_not_the_defaults(tmp_path: Path) -> None:
    settings = [target("adam", {"beta2": beta2}).settings for beta2 in (0.9, 0.99)]
    survivors = [a_survivor(tmp_path / str(number), settings=own) for number, own in enumerate(settings)]
    first, second = (attack_page.page(directory).title for directory in survivors)
    assert first != second
    assert "beta2 0.9," in first


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "survives: no counterexample found (this is not a proof)"),
        ({"survives": 0, "unsettled": 1000}, "no run settled, so the search gives no answer"),
        ({"interrupted": True}, "of search and shrinking, then interrupted"),
        ({"interrupted": True}, "not finished, interrupted: 1,000 problems tried"),
        ({"finished": False}, "not finished, out of time: 1,000 problems tried"),
    ],
)
def test_a_record_without_counterexample_says_what_was_tried(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    survivor = Attack.read(a_survivor(tmp_path, limits=Limits(problems=1000), **given))
    assert said in words(survivor.directory)
    assert "--problems=1000" in (survivor.command() or "")
    if not given:
        made = page(survivor.directory)
        assert said in made.text
        assert "amsgrad-exp attack --optimizer adam" in made.text


def test_a_flipped_bit_damages_the_record(attack: Path, in_process: CommandLine) -> None:
    path = attack / "attack.json"
    content, read = path.read_bytes(), Attack.read(attack)
    for at in random.Random(6).sample(range(len(content)), 300):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        try:
            assert Attack.read(attack) == read  # 1e-08 and 1E-08 are one
        except Damaged:
            continue
    path.write_bytes(content.replace(b'"confirmed"', b'"coofirmed"'))
    failed = in_process("report", "1234")
    assert (failed.returncode, failed.stderr) == (1, f"amsgrad-exp: {path} is damaged: its checksum is wrong\n")
    path.write_bytes(content.replace(b'"sha256"', b'"sha257"'))
    with pytest.raises(Damaged, match="its checksum is wrong"):
        Attack.read(attack)


def test_a_record_without_checksums_is_read(attack: Path) -> None:
    older(attack)
    made = page(attack)
    assert "by 2 runs: from the middle" in made.text
    assert "This record was written before attacks stored their settings" in made.text
    assert "1,000 problems tried in 18.9 s" in made.text


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": None},
        {"seconds": "nothing"},
        {"problems": "x"},
        {"falls": 5},
        {"found": False},
        {"counterexample": {}},
        {"counterexample": None},
        {"schema": 0},
    ],
    ids=str,
)
def test_an_inconsistent_record_is_damaged(changes: dict[str, Any], attack: Path, in_process: CommandLine) -> None:
    older(attack, **changes)
    failed = in_process("report", "1234")
    path = attack / "attack.json"
    assert (failed.returncode, failed.stderr) == (1, f"amsgrad-exp: {path} is damaged: it is not an attack's result\n")


def test_a_record_of_a_newer_version_is_rejected(attack: Path) -> None:
    content = json.loads((attack / "attack.json").read_text())
    del content["sha256"]
    write_document(attack / "attack.json", content | {"schema": 2})
    with pytest.raises(NoSuchRun, match="newer version"):
        Attack.read(attack)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "how"),
    [
        (lambda run: half(run / "summary.json"), "damaged"),
        (lambda run: half(run / "trace.csv"), "damaged"),
        (lambda run: half(run / "experiment.yaml"), "damaged"),
        (lambda run: (run / "summary.json").unlink(), "damaged"),
        (shutil.rmtree, "missing"),
    ],
)
def test_a_lost_run_is_named(damage: Callable[[Path], object], how: str, attack: Path) -> None:
    example = Attack.read(attack).counterexample
    assert example
    assert example.runs
    damage(attack / FOLDER / example.runs[0])
    assert f"Of 2 runs that confirmed it, 1 is {how}: {example.runs[0][:8]}." in words(attack)
    assert "by 1 run that remains: from the middle" in words(attack)


@pytest.mark.parametrize("old", [False, True])
def test_runs_of_an_earlier_problem_are_not_evidence(old: bool, attack: Path) -> None:
    """A problem that was not confirmed leaves its runs beside those of the counterexample."""
    constants = {"slopes": (5, *[-1] * 4)}
    recorded(attack, "adam", problem="cycle", constants=constants, schedule="constant", name=FOLDER)
    if old:
        older(attack)
    assert "by 2 runs: from the middle" in words(attack)
    record = Attack.read(attack)
    assert {getattr(run.trial.problem, "slopes", None) for run in record.evidence.runs} == {(96, *[-1] * 95)}
    if not old:
        assert record.counterexample
        other = record.counterexample.model_copy(update={"slopes": (97, *[-1] * 95)})
        record.model_copy(update={"counterexample": other}).write()
        assert "Of 2 runs that confirmed it, 2 are damaged" in words(attack)


@pytest.mark.parametrize("old", [False, True])
def test_a_counterexample_without_its_runs_is_not_confirmed(old: bool, attack: Path) -> None:
    if old:
        older(attack)
    shutil.rmtree(attack / FOLDER)
    half(attack / "counterexample.yaml")
    made, lost = page(attack), Attack.read(attack).evidence.lost
    assert "by 2 runs" not in made.text
    assert "failed, but the evidence is lost: it has to be confirmed again" in made.text
    assert attack_page.page(attack).title.endswith("failed, but the evidence is lost")
    assert all(sentence in made.text for sentence in lost)
    none = "None of the runs that confirmed it were found." if old else "Of 2 runs that confirmed it, 2 are missing"
    assert lost[0].startswith(none)
    assert lost[1:] == ([] if old else ["counterexample.yaml is damaged: its checksum is wrong."])
    (attack / "counterexample.yaml").unlink()
    assert "counterexample.yaml, which repeats the first run, is missing." in words(attack)
