"""Tests of numbers as people write them, in files and options, and of powers computed without a maths library."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from amsgrad_exp import numbers
from amsgrad_exp.arithmetic import power
from amsgrad_exp.engines.loops import compile_loop
from amsgrad_exp.errors import ConfigError
from amsgrad_exp.spec.gauntlet import row
from amsgrad_exp.spec.read import load_experiment, read_experiment, read_yaml
from amsgrad_exp.spec.sweep import axis_values

# YAML 1.2.2, sections 10.3.2 and 10.3.3, and underscores between digits, which YAML 1.1 and Python know.
CORE: list[tuple[str, Any]] = [
    ("1e-2", 0.01),
    ("1E+3", 1000.0),
    ("0e0", 0.0),
    ("-0.0", -0.0),
    (".5", 0.5),
    ("5.", 5.0),
    ("+12", 12),
    ("010", 10),
    ("0o10", 8),
    ("0x10", 16),
    ("0xFf", 255),
    ("10_000_000", 10_000_000),
    ("1_0.5e1", 105.0),
    (".inf", math.inf),
    ("-.INF", -math.inf),
    ("true", True),
    ("False", False),
    ("null", None),
    ("~", None),
    ("", None),
    *((text, text) for text in ("12:30", "None", "none", "yes", "No", "on", "OFF", "tRue", "inf", "nan", "infinity")),
    *(
        (text, text)
        for text in ("1e", "e5", "0b11", "-0x10", "0o8", "1.2.3", "2026-01-02", "_1", ".", "1e-", "<<", "=")
    ),
    ("'1e-2'", "1e-2"),
    ("!!str 1e-2", "1e-2"),
    ("!!float 3", 3.0),
    ("[1e-1, .5]", [0.1, 0.5]),
]


@pytest.mark.parametrize(("text", "value"), CORE)
def test_a_value_means_the_same_in_a_file_an_option_and_a_gauntlet(text: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(f"a: {text}\n")
    from_file = read_yaml(tmp_path / "e.yaml")["a"]
    (from_option,) = read_experiment(optimizers=["torch.optim.SGD"], options={"a": text})["optimizers"]
    for read in (
        from_file,
        from_option["options"]["a"],
        *([] if "," in text else [row(f"x:a={text}")["options"]["a"]]),
    ):
        assert (read, type(read), str(read)) == (value, type(value), str(value))


@pytest.mark.parametrize(("text", "value"), [(text, value) for text, value in CORE if type(value) in (int, float)])
def test_a_number_is_the_same_wherever_one_is_needed(text: str, value: float) -> None:
    if text.startswith("!"):
        return
    if math.isfinite(value):
        for given_as in (text, value):
            experiment = load_experiment(constants={"low": given_as, "high": "1e9"})
            assert experiment.problem.interval == (value, 1e9)
        assert axis_values("lr", text) == (value,)
        assert axis_values("lr", f"{text}:{text}:1") == (value,)
    assert numbers.number(f" {text} ") == value


@pytest.mark.parametrize("text", ["nan", "inf", "1e", "None", "12:30", "", "1,2", "１"])
def test_a_text_that_is_not_a_number_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="a number such as"):
        numbers.number(text)
    with pytest.raises(ConfigError, match=r"^problem.steep: must be"):
        load_experiment(constants={"steep": text})


# PyYAML does not read U+0085 back as it writes it.
texts = st.characters(exclude_characters="\x85", codec="utf-8")
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.text(texts, max_size=8)
    # texts that look like numbers
    | st.sampled_from([text for text, _ in CORE])
    | st.from_regex(r"\A[-+0-9._eExo]{1,7}\Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(texts, max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(texts, max_size=5), values, max_size=4))
def test_written_yaml_reads_back_the_same_here_and_with_pyyaml(data: dict[str, Any]) -> None:
    text = numbers.dump(data)
    assert numbers.load(text) == data
    assert yaml.safe_load(text) == data


@given(st.text(max_size=40) | st.text("[]{}:,-'\"!&*|>?%@ \n01eE._xa", max_size=40))
def test_any_text_is_read_or_rejected_in_one_line(text: str) -> None:
    reason = None
    try:
        numbers.load(text)
    except ValueError as error:
        reason = str(error)
    assert reason is None or re.match(r"(is|has|holds|uses) [^\n]+\Z", reason)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**200), 10**200))
def test_a_number_written_by_python_reads_back_the_same(value: float) -> None:
    assert numbers.number(repr(value)) == value


def test_very_many_digits_are_read_as_infinity() -> None:
    assert numbers.number("9" * 10_000) == math.inf
    with pytest.raises(ConfigError, match="steps: must be"):
        load_experiment(steps="9" * 10_000)


compiled = compile_loop(lambda y, p: power(y, p))


@given(st.floats(1e-30, 1e18), st.floats(-1, 1))
def test_a_power_equals_pythons_and_compiled_has_the_same_bits(y: float, p: float) -> None:
    assert power(y, p) == pytest.approx(math.pow(y, p), rel=1e-13)
    assert compiled(y, p) == power(y, p)


@given(st.floats(2**-60, 2**60, width=32), st.floats(0.0625, 1, width=32))
def test_a_power_of_float32_is_float32(y: float, p: float) -> None:
    raised = power(np.float32(y), np.float32(p))
    assert isinstance(raised, np.float32)
    assert raised == np.float32(math.pow(y, p))
    assert compiled(np.float32(y), np.float32(p)) == raised


@pytest.mark.parametrize(("y", "p", "expected"), [(0.0, 0.5, 0.0), (math.inf, 0.5, math.inf), (0.96, 1e12, 0.0)])
def test_powers_at_the_ends_of_the_range(y: float, p: float, expected: float) -> None:
    assert power(y, p) == compiled(y, p) == expected
