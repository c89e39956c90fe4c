"""Tests that experiments are read from YAML files and options, completed with defaults, and rejected in one line."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from amsgrad_exp.engines import has_rule
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.problems import Online, Theorem1
from amsgrad_exp.rules import OPTIMIZERS
from amsgrad_exp.spec.experiment import Experiment
from amsgrad_exp.spec.read import load_experiment, resolve

SHIPPED = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
CONFIGS = [path for path in SHIPPED if "grid:" not in path.read_text()]


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_default_is_the_reference_experiment() -> None:
    experiment = load_experiment()
    assert experiment.problem == Online()
    assert (experiment.schedule, experiment.steps, experiment.log_every) == ("constant", 10_000_000, 1000)
    assert (experiment.dtype, experiment.engine, experiment.fast_forward) == ("float32", "auto", True)
    assert [settings.name for settings in experiment.optimizers] == ["adam", "amsgrad"]
    for settings in experiment.optimizers:
        assert (settings.lr, settings.beta1, settings.beta2, settings.eps) == (0.01, 0.9, 0.99, 1e-16)
    assert all(map(has_rule, experiment.trials()))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_configurations_load_and_read_back(path: Path, tmp_path: Path) -> None:
    experiment = load_experiment(path)
    assert experiment.name == path.stem
    assert load_experiment(written(tmp_path, experiment.to_yaml())) == experiment


def test_online_yaml_is_the_default_and_a_sweep_is_not_an_experiment() -> None:
    shipped = {path.stem: path for path in SHIPPED}
    assert load_experiment(shipped["online"]).model_copy(update={"name": "synthetic"}) == load_experiment()
    with pytest.raises(ConfigError, match="has a grid, which makes it a sweep"):
        load_experiment(shipped["phase-online"])


def test_options_override_the_file_which_overrides_the_defaults(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        problem: {name: theorem1, C: 5}
        steps: 1_000
        optimizers:
          - {name: adam, lr: 0.25}
          - amsgrad
        """,
    )
    from_file = load_experiment(path)
    assert from_file.problem == Theorem1(C=5)
    assert (from_file.steps, from_file.log_every, from_file.schedule) == (1000, 1, "inv-sqrt")
    assert [settings.lr for settings in from_file.optimizers] == [0.25, 0.5]
    assert [settings.beta2 for settings in from_file.optimizers] == [1 / 26, 1 / 26]
    changed = load_experiment(
        path, optimizers=["adam"], settings={"beta1": 0.5}, constants={"C": "6"}, steps="2e3", schedule="constant"
    )
    assert changed.problem == Theorem1(C=6)
    assert (changed.steps, changed.schedule) == (2000, "constant")
    assert (changed.optimizers[0].lr, changed.optimizers[0].beta1) == (0.25, 0.5)
    assert load_experiment(path, problem="online").problem == Online()
    assert load_experiment(path, problem="theorem1").problem == Theorem1(C=5)


def test_an_optimizer_may_be_listed_several_times(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "optimizers: [{name: adam, beta2: 0.9}, {name: adam, label: long}, {name: adam, label: '1', lr: 1}, amsgrad]\n",
    )
    assert [settings.label for settings in load_experiment(path).optimizers] == [None, "long", "1", None]
    (longest,) = load_experiment(path, optimizers=["long"]).optimizers
    assert (longest.name, longest.label, longest.beta2) == ("adam", "long", 0.99)
    both = load_experiment(path, optimizers=["adam", "amsgrad"])
    assert [settings.name for settings in both.optimizers] == ["adam", "adam", "adam", "amsgrad"]
    assert resolve(yaml.safe_load(both.to_yaml())) == both


def test_an_optimizers_own_settings_come_from_its_options(tmp_path: Path) -> None:
    (shift,) = load_experiment(optimizers=["adashift"], options={"n": "3"}).optimizers
    assert (shift.options, shift.optimized_update) == ({"n": 3}, None)
    assert load_experiment(optimizers=["adashift"]).optimizers[0].options == {"n": 10}
    path = written(tmp_path, "optimizers: [{name: adopt, options: {clip: false}}]")
    assert load_experiment(path).optimizers[0].options == {"clip": False}
    assert load_experiment(path, options={"clip": "true"}).optimizers[0].options == {"clip": True}
    for options, message in (
        ({"n": "0"}, "^adashift.options.n: must be greater than or equal to 1"),
        ({"m": "1"}, "^adashift.options.m: unknown key"),
        ({"n": "[1"}, r"^option n: '\[1' is not YAML"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_experiment(optimizers=["adashift"], options=options)
    (adam,) = load_experiment(optimizers=["adam"], options={"optimized_update": "false"}).optimizers
    assert (adam.optimized_update, adam.options) == (False, {"dialect": "torch"})
    with pytest.raises(ConfigError, match="adam is given optimized_update, and again in its options"):
        load_experiment(optimizers=["adam"], settings={"optimized_update": True}, options={"optimized_update": "false"})


def test_an_empty_setting_has_its_default() -> None:
    (settings,) = resolve({"optimizers": [{"name": "adam", "beta1": None, "eps": None}]}).optimizers
    assert (settings.beta1, settings.eps) == (0.9, 1e-16)


def test_an_imported_optimizer_is_given_the_settings_that_its_constructor_takes() -> None:
    (settings,) = resolve({"optimizers": ["torch.optim.Adafactor"]}).optimizers
    assert settings.arguments == {}
    given = {"name": "torch.optim.NAdam", "options": {"betas": [0.5, 0.5]}}
    (settings,) = resolve({"optimizers": [given]}).optimizers
    assert settings.arguments == {"eps": 1e-16, "betas": [0.5, 0.5]}
    with pytest.raises(ConfigError, match="given beta1, and betas in its options"):
        resolve({"optimizers": [{**given, "beta1": 0.9}]})
    (settings,) = resolve({"optimizers": ["tests.optimizers.Anything"]}).optimizers
    assert (settings.lr, settings.arguments) == (0.01, {})
    (nadam,) = load_experiment(optimizers=["torch.optim.NAdam"]).optimizers
    assert nadam.arguments == {"betas": (0.9, 0.99), "eps": 1e-16}
    experiment = resolve({"optimizers": [{"name": "torch.optim.SGD", "options": {"momentum": 0.9}}]})
    assert experiment.optimizers[0].arguments == {"momentum": 0.9}
    assert not has_rule(experiment.trials()[0])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"steps": "0"}, r"^steps: must be greater than or equal to 1, not '?0"),
    ({"steps": "1.5"}, "^steps: must be a whole number"),
    ({"steps": "1e19"}, "^steps: must be less than or equal to 1000000000000000000"),
    ({"steps": True}, "^steps: a number is needed"),
    ({"steps": "_"}, "^steps: must be a whole number"),
    ({"steps": 10, "log_every": 100}, "^log_every must be at most steps"),
    ({"seeds": 3}, "^seeds need a random problem"),
    ({"problem": {"name": "online", "period": 10**400}}, "^problem.period: must be less than"),
    ({"problem": {"name": "theorem1", "C": 1e200}}, "^problem.C: must be less than"),
    ({"problem": {"name": "online", "steep": 1e30}}, "too large for float32"),
    ({"optimizers": [{"name": "adam", "lr": 1e300}]}, "^lr is too large for float32"),
    ({"log_every": "0"}, "^log_every: must be greater"),
    ({"steps": "1e12", "log_every": 1}, r"1,000,000,000,000 points, about 200,000.0 GB: use at least 100000$"),
    ({"seed": -1}, "^seed: must be greater"),
    ({"schedule": "inv_sqrt"}, "^schedule: unknown name 'inv_sqrt', did you mean inv-sqrt"),
    ({"schedule": 3}, "^schedule: must be a valid string, not 3"),
    ({"schedule": {"c": 3}}, "^schedule: a name, or a mapping with a name, is needed, not {'c': 3}"),
    ({"schedule": {"name": "inv-sqrt", "d": 3}}, "^schedule: inv-sqrt takes no d, choose from c, every"),
    ({"schedule": "constant:c=3"}, "^schedule: constant takes no c, choose from warmup"),
    ({"schedule": "inv-sqrt:c"}, "^schedule: inv-sqrt takes NAME=VALUE after its colon, not 'c'"),
    ({"schedule": "inv-sqrt:c=-1"}, "^schedule: c of inv-sqrt: must be greater than 0, not -1"),
    ({"schedule": "inv-sqrt:every=0"}, "^schedule: every of inv-sqrt: must be greater than or equal to 1"),
    ({"schedule": "step"}, "^schedule: step needs every, such as step:every=1000"),
    ({"schedule": "step:every=0"}, "every of step: must be greater"),
    ({"schedule": "step:every=10,gamma=1"}, "gamma of step: must be less"),
    ({"schedule": "cosine:final=2"}, "final of cosine: must be less"),
    ({"schedule": "cosine:every=2"}, "^schedule: cosine takes no every, choose from final, warmup"),
    ({"schedule": "cosine:warmup=10", "steps": 10}, r"^warmup of cosine must be less than steps \(10\), not 10"),
    ({"schedule": "inv:warmup=1.5"}, "warmup of inv: must be a whole number"),
    ({"schedule": "constant:warmup=-1"}, "warmup of constant: must be greater"),
    ({"engine": "fast"}, "^engine: must be 'auto', 'compiled' or 'torch', not 'fast'"),
    ({"dtype": "float8"}, "^dtype: must be 'float32', 'float64', 'bfloat16' or 'float16'"),
    ({"name": "../../etc"}, "^name: "),
    ({"stepz": 3}, r"^stepz: unknown key, did you mean steps\?"),
    ({"problem": "onlin"}, r"^problem: unknown name 'onlin', did you mean online\?"),
    ({"problem": 3}, "^problem: a name, or a mapping with a name, is needed, not 3"),
    ({"problem": {"name": "online", "perod": 3}}, r"^problem.perod: unknown key, did you mean period\?"),
    ({"problem": {"name": "online", "low": 2}}, r"^problem: the interval \[2, 1\] is empty"),
    ({"problem": {"name": "theorem1", "C": 1}}, "^problem.C: must be greater than 2, not 1"),
    ({"optimizers": "adam"}, "^optimizers must be a list, not 'adam'"),
    ({"optimizers": []}, "^optimizers: "),
    ({"optimizers": [3]}, "^optimizers: a name, or a mapping with a name"),
    ({"optimizers": ["adm"]}, r"^optimizers: unknown name 'adm', did you mean adam\?"),
    ({"optimizers": ["adam", "adam"]}, "^optimizer adam is listed twice"),
    ({"optimizers": [{"name": "adam", "label": "a"}] * 2}, "^optimizer a is listed twice"),
    ({"optimizers": [{"name": "adam", "label": ""}]}, "^adam.label: string should have at least 1 character"),
    (
        {"optimizers": [{"name": "adam", "label": "a\x1b[31mred"}]},
        "^adam.label: must not contain control characters",
    ),
    ({"optimizers": [{"name": "adam", "label": 3}]}, "^adam.label: must be a valid string, not 3"),
    ({"optimizers": [{"name": "torch.optim.SGD", "beta1": 0.5}]}, "takes no betas, so beta1 cannot be set"),
    ({"optimizers": [{"name": "adam", "beta2": 1}]}, "^adam.beta2: must be less than 1, not 1"),
    ({"optimizers": [{"name": "adam", "beta1": -0.1}]}, "^adam.beta1: must be greater than or equal to 0"),
    ({"optimizers": [{"name": "adam", "lr": float("nan")}]}, "^adam.lr: must be a finite number, not nan"),
    ({"optimizers": [{"name": "adam", "lr": float("inf")}]}, "^adam.lr: must be a finite number, not inf"),
    ({"optimizers": [{"name": "adam", "lr": 0}]}, "^adam.lr: must be greater than 0"),
    ({"optimizers": [{"name": "adam", "lr": "big"}]}, "^adam.lr: must be a number"),
    ({"optimizers": [{"name": "adam", "beta": 0.9}]}, "^adam.beta: unknown key, did you mean beta"),
    ({"optimizers": [{"name": "adam", "options": {"a": 1}}]}, r"^adam.options.a: unknown key"),
    ({"optimizers": [{"name": "yogi", "options": {"a": 1}}]}, "^yogi.options: yogi has no options"),
]


@pytest.mark.parametrize(("data", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_an_invalid_experiment_is_rejected_in_one_line(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(data)
    assert "\n" not in str(caught.value)


BILLION_LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nsteps: *c\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty"),
        (b"- 1\n- 2\n", "is not an experiment"),
        (b"1: 2\n", "has a key that is not text, 1, in line 1"),
        (b"steps: [1, 2", "is not YAML"),
        (b"steps: 1\n  lr: 2\n", "is not YAML"),
        (b"\x00\x01\x02\xff\xfe", "is not a text file"),
        (b"\x00\x01", "is not YAML"),
        (BILLION_LAUGHS.encode(), r"uses a YAML alias, \*a"),
        (b"steps: !!python/object/apply:os.system ['true']\n", "has a tag that is not supported"),
        (b"[" * 1000 + b"]" * 1000, "is nested more than 50 deep"),
        (b"steps: 1\nlr: 2\nsteps: 3\n", "has steps twice, the second time in line 3"),
        (b"problem: {name: cycle, slopes: [1], slopes: [2]}\n", "has slopes twice"),
        (b"steps: 1\n---\nsteps: 2\n", "contains more than one YAML document"),
    ],
)
def test_a_file_that_is_not_an_experiment_is_rejected_in_one_line(text: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_experiment(written(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "experiment.yaml" in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "nowhere.yaml", "nowhere.yaml cannot be read: No such file"),
        (tmp_path, "cannot be read: Is a directory"),
        (Path("/dev/zero"), "larger than 1,000,000 bytes"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_experiment(path)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(sorted(OPTIMIZERS))
)
keys = st.one_of(
    st.text(st.characters(exclude_categories=["C"]), max_size=6),
    st.sampled_from([*Experiment.model_fields, "lr", "beta1", "beta2", "eps", "C", "period", "low", "high", "options"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=8,
)


@given(st.dictionaries(keys, values, max_size=5))
def test_any_mapping_is_an_experiment_or_is_rejected_in_one_line(data: dict[str, Any]) -> None:
    try:
        experiment = resolve(data)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert resolve(yaml.safe_load(experiment.to_yaml())) == experiment
