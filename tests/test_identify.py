"""Tests that identify recognizes every rule, and every departure from it, in implementations written independently."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from amsgrad_exp import identify
from amsgrad_exp.errors import ConfigError, RunFailed
from amsgrad_exp.identification import probes as probe_module
from amsgrad_exp.identification.answer import Answer, answer, of_optimizer, walked
from amsgrad_exp.identification.form import Form
from amsgrad_exp.identification.known_forms import CODES, SENTENCES, described, forms
from amsgrad_exp.identification.probes import Probe, probes
from amsgrad_exp.rules import OPTIMIZERS
from tests.conftest import CommandLine
from tests.ports import CASES

PORT = "tests.ports.Port"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the long probe short."""
    monkeypatch.setattr(probe_module, "LONG", 4000)
    monkeypatch.setattr(probe_module, "EVERY", 1000)


ADAM_TEXTBOOK = "adam:optimized_update=false"

SAME_FUNCTION = {
    ("adam", "weight_decay_decoupled"): "adamw:weight_decay=0.125",
    ("adam", "eps_before_correction"): "adam",
    ("adam:folded", "eps_after_correction"): ADAM_TEXTBOOK,
    ("adamw", "weight_decay_decoupled"): "adamw:weight_decay=0.125",
    ("amsgrad", "max_not_kept"): ADAM_TEXTBOOK,
    ("amsgrad", "max_of_corrected"): "amsgrad:dialect=optax",
    ("amsgrad", "eps_before_correction"): "amsgrad",
    ("amsgrad:folded", "max_not_kept"): "adam",
    ("amsgrad:folded", "max_of_corrected"): "amsgrad:dialect=optax",
    ("amsgrad:folded", "eps_after_correction"): "amsgrad:optimized_update=false",
    ("amsgrad:optax", "max_not_kept"): ADAM_TEXTBOOK,
    ("amsgrad:optax", "max_of_uncorrected"): "amsgrad:optimized_update=false",
    ("amsgrad:paper", "max_not_kept"): "adam:dialect=paper",
    ("adamx", "max_not_kept"): "adam:dialect=paper",
    ("amsbound", "max_not_kept"): "adabound",
    ("adadelta", "v_before_update"): "sgd",  # by induction v = E[Δx²] at every step, so that the roots cancel
}
"""Departures with which a rule is another published rule: that one is the answer, without a departure."""

OTHER_WORDS = {
    ("adamw", "weight_decay_coupled"): ("adam", "weight_decay_coupled"),
    ("adamw", "weight_decay_without_lr"): ("adam", "weight_decay_without_lr"),
    ("adamw", "eps_before_correction"): ("adam", "weight_decay_decoupled"),
    ("sgd", "weight_decay_decoupled"): ("sgd", "weight_decay_coupled"),
}
"""Departures that are the same function as a departure from a better-known rule, which is the answer."""

NEVER_FINITE = {("adamax", "v_before_update")}
"""The first step divides by u_0 = 0."""


def of_port(rule: str, does: str) -> Answer:
    options = {"rule": rule, "does": does or "nothing", "momentum": "0.9" if "momentum" in rule else "0.0"}
    if does.startswith("weight") or rule == "adamw":
        options["weight_decay"] = "0.125"
    return of_optimizer(PORT, {}, options, None, long=False)


def check(found: Answer, rule: str, code: str) -> None:
    """Check the answer for a port with this departure from a rule, or with none."""
    assert found.explained, (rule, code)
    if same := SAME_FUNCTION.get((rule, code)):
        assert (found.matches, found.closest) == (True, same), (rule, code)
        return
    name = rule.partition(":")[0]
    name = "amsgrad" if name == "adamx" else name  # the same, where β1 is constant
    name, departure = OTHER_WORDS.get((rule, code), (name, code))
    assert (found.form.name, found.departures) == (name, (departure,) if code else ()), (rule, code)
    assert found.matches == (code == ""), (rule, code)


@pytest.mark.parametrize("rule", CASES)
def test_a_port_of_a_rule_and_each_departure_are_recognized(rule: str) -> None:
    for code in ["", *CASES[rule]]:
        if (rule, code) in NEVER_FINITE:
            with pytest.raises(RunFailed, match="not finite at any step"):
                of_port(rule, code)
            continue
        found = of_port(rule, code)
        check(found, rule, code)
        assert found.first or found.matches


def test_the_ports_have_every_rule_and_every_departure() -> None:
    assert {code for codes in CASES.values() for code in codes} == set(CODES)
    assert {rule.partition(":")[0] for rule in CASES} == set(OPTIMIZERS)


def rule_walk(form: Form, probe: Probe, element: int) -> Iterator[float]:
    """The iterates by the functions of the registered rule, which the compiled loop calls."""
    known = OPTIMIZERS[form.name]
    rule = known.rule(known.options.model_validate(form.options))
    lr = float(probe.lr[0])
    settings: dict[str, Any] = {"lr": lr, "beta1": float(probe.beta1[0]), "beta2": probe.beta2, "eps": probe.eps}
    h, x = rule.hyper_from(settings | dict(form.options)), float(probe.start[element])
    carry, state = rule.carry, tuple(rule.state.values())
    for t in range(probe.steps):
        scale, c, carry = rule.coefficients(t, float(probe.lr[t]) / lr, h, *carry)
        seen = (x,) if rule.uses_iterate else ()
        move, state = rule.update(float(probe.gradients[t, element]), lr * scale, c, h, *seen, *state)
        x = float(x - move)
        yield x


@pytest.mark.parametrize("form", forms({"weight_decay": 0.125}), ids=described)
@pytest.mark.filterwarnings("ignore:(divide|invalid)")
def test_forms_equal_the_registered_rules(form: Form) -> None:
    for probe in probes({"weight_decay": 0.125} if form.name == "adamw" else {}):
        if probe.changes_beta1 or probe.every > 1:
            continue
        ours = walked(form, probe)
        for element in range(probe.elements):
            theirs = np.array(list(rule_walk(form, probe, element)))
            np.testing.assert_allclose(ours[:, element], theirs, rtol=1e-13, atol=1e-14 * np.abs(theirs).max())


def test_the_packages_classes_match_their_rules() -> None:
    for name in OPTIMIZERS:
        found = of_optimizer(name, {}, {}, None, long=False)
        assert (found.matches, found.form.name) == (True, "amsgrad" if name == "adamx" else name)
        assert found.largest < 1e-11, name


@pytest.mark.parametrize(
    ("name", "options", "closest", "departures"),
    [
        ("torch.optim.Adam", {}, ADAM_TEXTBOOK, ()),
        ("torch.optim.Adam", {"amsgrad": "true"}, "amsgrad:optimized_update=false", ()),
        ("torch.optim.Adam", {"weight_decay": "0.01"}, ADAM_TEXTBOOK, ("weight_decay_coupled",)),
        ("torch.optim.NAdam", {}, "nadam", ()),
        ("amsgrad_exp.optimizers.Yogi", {}, "yogi", ()),
        ("torch.optim.SGD", {"momentum": "0.5"}, "sgd:momentum=0.5", ()),
        ("pytorch_optimizer.ADOPT", {}, "adopt", ("count_early",)),
        ("pytorch_optimizer.PAdam", {}, "padam:p=0.25", ("max_not_kept",)),
        ("pytorch_optimizer.AvaGrad", {}, "avagrad", ("not_elementwise", "state_shared")),
        ("tests.optimizers.SignError", {}, ADAM_TEXTBOOK, ("m_not_corrected", "sign_flipped")),
        ("tests.test_identify.SharedCount", {}, ADAM_TEXTBOOK, ("state_shared",)),
        ("optax.amsgrad", {}, "amsgrad:dialect=optax", ()),
        ("optax.nadam", {}, "nadam:momentum_decay=1e+06", ()),
        ("optax.rmsprop", {"momentum": "0.9"}, "rmsprop:momentum=0.9", ("eps_in_root", "lr_in_momentum")),
    ],
)
def test_optimizers_of_others_are_identified(
    name: str, options: dict[str, str], closest: str, departures: tuple[str, ...]
) -> None:
    if name.startswith("optax"):
        pytest.importorskip("optax")
    settings = {"beta2": 0.99} if "SignError" in name else {}
    found = of_optimizer(name, settings, options, None, long=False)
    assert (found.closest, found.departures, found.explained) == (closest, departures, True)
    assert not name.startswith("optax") or found.agreement["beta1 changes"] is None


class HiddenEps(torch.optim.Adam):
    """Has an ε that its constructor does not take."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float]) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=1e-7)


class HiddenDecay(torch.optim.AdamW):
    """Has a weight decay that its constructor does not take."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=0.02)


class SharedCount(torch.optim.Optimizer):
    """Adam with one count of steps for all parameters."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], eps: float, most: int = 10**9) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self.t, self.most = 0, most

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            (beta1, beta2), lr, eps = group["betas"], group["lr"], group["eps"]
            for p in group["params"]:
                self.t = min(self.t + 1, self.most)
                s = self.state[p]
                s["m"] = beta1 * s.get("m", 0.0) + (1 - beta1) * p.grad
                s["v"] = beta2 * s.get("v", 0.0) + (1 - beta2) * p.grad**2
                m, v = s["m"] / (1 - beta1**self.t), s["v"] / (1 - beta2**self.t)
                p.sub_(lr * m / (v.sqrt() + eps))


class StopsCounting(SharedCount):
    """Adam whose count stops after 1024 steps, as if it had too few bits."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, lr, betas, eps, most=1024)


def test_settings_that_a_constructor_does_not_take_are_estimated() -> None:
    found = of_optimizer("tests.test_identify.HiddenEps", {}, {}, None, long=False)
    assert (found.matches, found.closest, found.assumed) == (True, ADAM_TEXTBOOK, {"eps": 1e-7})
    found = of_optimizer("tests.test_identify.HiddenDecay", {}, {}, None, long=False)
    assert (found.matches, found.form.name, found.assumed) == (True, "adamw", {"weight_decay": 0.02})


@pytest.mark.usefixtures("quick")
def test_a_long_run_shows_further_departures_and_like_names_what_to_compare_with() -> None:
    assert of_optimizer("tests.test_identify.StopsCounting", {}, {}, None).departures == ("state_shared", "long_run")
    found = identify("pytorch_optimizer.PAdam", like="adam")
    assert (found.form.name, found.explained) == ("adam", False)
    assert identify("torch.optim.Adam", like="amsgrad").departures == ("max_not_kept",)
    for wrong in ("amsgrd", "amsgrad:dialekt=paper", "amsgrad:paper"):
        with pytest.raises(ConfigError, match="amsgra"):
            identify("torch.optim.Adam", like=wrong)


def test_pairs_of_departures_are_found() -> None:
    chosen = [probe for probe in probes() if probe.every == 1]
    (base,) = [form for form in forms() if described(form) == "yogi"]
    form = Form(**{**vars(base), "correct_v": 0, "root": False})
    found = answer("it", chosen, {probe.name: walked(form, probe) for probe in chosen})
    assert (found.form.name, found.departures) == ("yogi", ("v_not_corrected", "no_root"))


@pytest.mark.usefixtures("quick")
def test_the_commands_output_document_and_exit_statuses(in_process: CommandLine) -> None:
    matched = in_process("identify", "--optimizer", "signsgd", "--expect", "signsgd")
    assert (matched.returncode, "matches" in matched.stdout) == (0, True)
    other = in_process("identify", "--optimizer", "pytorch_optimizer.ADOPT", "--expect", "adopt", "--json")
    assert other.returncode == 3
    assert SENTENCES["count_early"] in other.stderr
    document = json.loads(other.stdout)
    assert document["closest"] == {"name": "adopt", "options": {"clip": True}}
    assert (document["schema"], document["matches"], document["departures"]) == (1, False, ["count_early"])
    assert set(document["first"]) == {"probe", "step", "moved", "expected"}
    assert [set(probe) for probe in document["probes"]] == [{"name", "steps", "agreement"}] * len(probes())
    failed = in_process("identify", "--optimizer", "tests.optimizers.Faulty")
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (1, "", 1)
    assert "the optimizer raised ZeroDivisionError" in failed.stderr
