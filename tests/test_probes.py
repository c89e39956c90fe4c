"""Tests of probes and identify --iterates, which identify an implementation by the iterates that it wrote to a file."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from amsgrad_exp import identify
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.identification import probes
from amsgrad_exp.identification.answer import probes_of
from tests.conftest import CommandLine
from tests.ports import CASES, Port
from tests.test_identify import NEVER_FINITE, check

VECTORS = Path(__file__).parent.parent / "docs" / "vectors"

Make = Callable[..., torch.optim.Optimizer]
Say = Callable[[float], str]


def filled(
    text: str, make: Make, dtype: torch.dtype = torch.float64, say: Say = lambda x: repr(float(x)), long: bool = False
) -> str:
    """A file of probes with an optimizer's iterates, as docs/identify.md asks for them; probes with NaN stay empty."""
    rows = list(csv.DictReader(io.StringIO(text)))
    lost, params = set(), []
    for row in rows:
        settings = {name: float(row[name]) for name in ("lr", "beta1", "beta2", "eps", "weight_decay")}
        if row["step"] == "0":
            xs = [float(row[column]) for column in ("x", "x_2") if row[column]]
            apart = row["probe"] == "two parameters"
            params = [torch.nn.Parameter(torch.tensor(x, dtype=dtype)) for x in ([[x] for x in xs] if apart else [xs])]
            optimizer = make(params, **settings)
            continue
        if row["probe"] == "long" and not long:
            continue
        optimizer.param_groups[0].update(lr=settings["lr"], betas=(settings["beta1"], settings["beta2"]))
        columns = [row["gradient"].split(), *([row["gradient_2"].split()] if row["gradient_2"] else [])]
        for gradients in list(zip(*columns, strict=True)) * int(row["repeat"]):
            numbers = torch.tensor([float(gradient) for gradient in gradients], dtype=dtype)
            for param, gradient in zip(params, numbers.chunk(len(params)), strict=True):
                param.grad = gradient.clone()
            optimizer.step()
        x = torch.cat([param.detach() for param in params])
        if not x.isfinite().all():
            lost.add(row["probe"])
        row |= {column: say(each) for column, each in zip(("x", "x_2"), x.numpy(), strict=False)}
    rows = [row | ({"x": "", "x_2": ""} if row["probe"] in lost and row["step"] != "0" else {}) for row in rows]
    return written(rows)


def written(rows: list[dict[str, str]]) -> str:
    out = io.StringIO()
    table = csv.DictWriter(out, rows[0], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return out.getvalue()


def port(rule: str, does: str) -> Make:
    def make(params: Any, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float) -> Port:
        momentum = 0.9 if "momentum" in rule else 0.0
        return Port(params, lr, (beta1, beta2), eps, weight_decay, momentum, rule, does)

    return make


def adam(params: Any, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float) -> torch.optim.Adam:
    return torch.optim.Adam(params, lr, (beta1, beta2), eps, weight_decay)


EMPTY, DECAYING = probes_of(None, {}, {}), probes_of(None, {}, {"weight_decay": "0.125"})
SINGLE = [(rule, code) for turn, (rule, codes) in enumerate(CASES.items()) for code in ["", *codes][turn % 5 :: 5]]
"""A fifth of the ports, with some of every rule."""


@pytest.mark.parametrize("rule", CASES)
def test_departures_are_recognized_from_float32_iterates(rule: str, tmp_path: Path) -> None:
    path = tmp_path / "filled.csv"
    for code in [code for each, code in SINGLE if each == rule and (rule, code) not in NEVER_FINITE]:
        decays = code.startswith("weight") or rule == "adamw"
        path.write_text(filled(DECAYING if decays else EMPTY, port(rule, code), torch.float32, str))
        found = identify(iterates=path)
        assert found.single
        check(found, rule, code)


@pytest.mark.parametrize("say", ["{!r}", "{:.17g}", "{:.12e}", "{:.9g}", "{:.10f}", "{:.6g}"])
def test_the_tolerance_depends_on_the_number_of_digits(say: str, tmp_path: Path) -> None:
    path = tmp_path / "filled.csv"
    for does, departures in [("", ()), ("v_before_update", ("v_before_update",)), ("eps_in_root", ("eps_in_root",))]:
        path.write_text(filled(EMPTY, port("adam", does), say=lambda x: say.format(float(x))))
        found = identify(iterates=path)
        assert (found.closest, found.departures) == ("adam:optimized_update=false", departures)


def test_a_file_is_identified(tmp_path: Path, in_process: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.csv"
    assert in_process("probes").stdout == EMPTY
    monkeypatch.setattr(probes, "LONG", 800)
    monkeypatch.setattr(probes, "EVERY", 100)
    assert in_process("probes", "--out", str(path)).stdout == ""
    path.write_text(filled(path.read_text(), adam, long=True))
    done = in_process("identify", "--iterates", str(path), "--expect", "adam", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["matches"], document["closest"]["name"]) == (0, True, "adam")
    assert (document["probes"][-1]["name"], document["probes"][-1]["steps"]) == ("long", 800)
    assert document["agreement"] < 1e-11
    assert in_process("identify", "--iterates", str(path), "--expect", "sgd").returncode == 3


def test_probes_of_a_rule_equal_the_published_vectors_and_match_it(in_process: CommandLine, tmp_path: Path) -> None:
    done = in_process("probes", "--optimizer", "amsgrad", "--option", "dialect=optax")
    path = tmp_path / "vectors.csv"
    path.write_text(done.stdout)
    assert identify(iterates=path, like="amsgrad:dialect=optax").matches
    ours, kept = (
        list(csv.DictReader(io.StringIO(text)))
        for text in (done.stdout, (VECTORS / "amsgrad-dialect-optax.csv").read_text())
    )
    for one, other in zip(ours, kept, strict=True):
        assert {**one, "x": "", "x_2": ""} == {**other, "x": "", "x_2": ""}
        for column in ("x", "x_2"):
            np.testing.assert_allclose(float(one[column] or 0), float(other[column] or 0), rtol=1e-12, atol=1e-15)


def test_published_vectors_agree_with_torch() -> None:
    """One of the files, computed anew with torch.optim.Adam."""
    kept = (VECTORS / "adam-optimized_update-false.csv").read_text()
    for one, other in zip(*(csv.DictReader(io.StringIO(text)) for text in (filled(kept, adam), kept)), strict=True):
        np.testing.assert_allclose(float(one["x"]), float(other["x"]), rtol=1e-12, atol=1e-15)


def spoiled(change: Callable[[list[dict[str, str]]], object]) -> str:
    rows = list(csv.DictReader(io.StringIO(filled(EMPTY, adam))))
    change(rows)
    return written(rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [row.pop("eps") for row in rows], "the columns eps are missing"),
        (lambda rows: rows.__delitem__(slice(15, 21)), '"gaussian" has 15 rows, not 21: steps are missing'),
        (lambda rows: rows[5].update(x="nan"), "row 7: x is nan, not a finite number"),
        (lambda rows: rows[5].update(x=""), "row 7: x is empty"),
        (lambda rows: rows[5].update(x="1,5"), "row 7: x is no number"),
        (lambda rows: rows[30].update(gradient="0.5"), "row 32: gradient is 0.5, but the probe has"),
        (lambda rows: rows[30].update(beta2="0.999"), "row 32: beta2 is 0.999, but the probe has"),
        (lambda rows: rows[30].update(probe="gauss"), "there is no probe 'gauss'"),
        (lambda rows: [row.update(x_2="") for row in rows], "x_2 is empty"),
        (
            lambda rows: [
                row.update({key: f"{float(row[key]):.2g}" for key in ("x", "x_2") if row[key]}) for row in rows
            ],
            "significant digits",
        ),
        (lambda rows: [row.update(x="", x_2="") for row in rows if row["step"] != "0"], "fill in the iterates"),
        (lambda rows: [row.update(x="", x_2="") for row in rows[105:] if row["step"] != "0"], "at least 7"),
    ],
)
def test_a_file_that_is_filled_in_wrongly_is_rejected_in_one_line(
    change: Callable[[list[dict[str, str]]], object], message: str, in_process: CommandLine, tmp_path: Path
) -> None:
    path = tmp_path / "p.csv"
    path.write_text(spoiled(change))
    done = in_process("identify", "--iterates", str(path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


def test_settings_that_differ_from_the_file_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(filled(EMPTY, adam))
    with pytest.raises(ConfigError, match=r"lr is 0.0625 in this file, not 0.1"):
        identify(iterates=path, settings={"lr": 0.1})
    assert identify(iterates=path, settings={"lr": 0.0625}).matches
    with pytest.raises(ConfigError, match="either --optimizer or --iterates"):
        identify("torch.optim.Adam", iterates=path)


def test_the_file_has_the_settings_given_to_probes(in_process: CommandLine, tmp_path: Path) -> None:
    text = in_process("probes", "--beta2", "0.999", "--eps", "1e-8", "--option", "weight_decay=0.01").stdout
    path = tmp_path / "p.csv"
    path.write_text(filled(text, adam))
    assert identify(iterates=path).departures == ("weight_decay_coupled",)
