"""Tests that labels name what differs between trials, and that different trials have different labels."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amsgrad_exp.errors import ConfigError
from amsgrad_exp.spec.experiment import Trial
from amsgrad_exp.spec.labels import labels
from amsgrad_exp.spec.read import resolve


def trial(optimizer: dict[str, Any] | str = "adam", **setup: Any) -> Trial:
    (only,) = resolve({**setup, "optimizers": [optimizer]}).trials()
    return only


def adam(**settings: Any) -> dict[str, Any]:
    return {"name": "adam", **settings}


SGD = "torch.optim.SGD"
B = {"name": "stochastic", "probability": 0.02}


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([trial(adam(lr=0.1))], ["adam"]),
        ([trial(), trial("amsgrad")], ["adam", "amsgrad"]),
        ([trial(adam(beta2=0.99)), trial(adam(beta2=0.999))], ["adam, β2 = 0.99", "adam, β2 = 0.999"]),
        ([trial(), trial(adam(beta2=1 - 1e-9))], ["adam, β2 = 0.99", "adam, β2 = 0.999999999"]),
        (
            [trial(adam(lr=1 / 3)), trial(adam(lr=1 / 3 + 1e-9))],
            ["adam, α = 0.333333333333", "adam, α = 0.333333334333"],
        ),
        ([trial(), trial({"name": "amsgrad", "lr": 0.5})], ["adam, α = 0.01", "amsgrad, α = 0.5"]),
        ([trial(), trial(adam(label="slow", lr=1e-4))], ["adam, α = 0.01", "slow"]),
        ([trial(adam(label="a", lr=0.1)), trial(adam(label="a", lr=0.2))], ["a, α = 0.1", "a, α = 0.2"]),
        (
            [trial(adam(label="a")), trial({"name": "amsgrad", "label": "a"})],
            ["a, optimizer = adam", "a, optimizer = amsgrad"],
        ),
        ([trial(), trial(problem="stochastic")], ["adam on online", "adam on stochastic"]),
        ([trial(problem="stochastic"), trial(problem=B)], ["adam, probability = 0.01", "adam, probability = 0.02"]),
        ([trial(), trial(schedule="inv-sqrt")], ["adam, schedule = constant", "adam, schedule = inv-sqrt"]),
        ([trial(steps=10), trial(steps=20)], ["adam, steps = 10", "adam, steps = 20"]),
        ([trial(steps=10), trial("amsgrad", steps=20)], ["adam", "amsgrad"]),
        (
            [trial(adam(beta2=0.99)), trial(adam(beta2=0.999)), trial("amsgrad")],
            ["adam, β2 = 0.99", "adam, β2 = 0.999", "amsgrad, β2 = 0.99"],
        ),
        (
            [trial(), trial(problem="theorem1", schedule="constant"), trial("amsgrad")],
            [
                "adam on online, α = 0.01, β1 = 0.9, β2 = 0.99",
                "adam on theorem1, α = 0.5, β1 = 0, β2 = 0.1",
                "amsgrad on online, α = 0.01, β1 = 0.9, β2 = 0.99",
            ],
        ),
        (
            [trial(adam(lr=0.1, beta1=0.1, beta2=0.1, eps=0.1)), trial(adam(lr=0.2, beta1=0.2, beta2=0.2, eps=0.2))],
            ["adam, α = 0.1, β1 = 0.1, β2 = 0.1, …", "adam, α = 0.2, β1 = 0.2, β2 = 0.2, …"],
        ),
        (
            [trial(SGD), trial({"name": SGD, "options": {"momentum": 0.9}}), trial("adam")],
            [SGD, f"{SGD}, momentum = 0.9", "adam"],
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value[0], str) else "",
)
def test_a_label_says_what_differs(trials: list[Trial], expected: list[str]) -> None:
    assert labels(trials) == expected


def test_an_option_missing_in_an_older_record_has_its_default() -> None:
    new = trial({"name": "amsgrad", "lr": 0.1})
    old = new.model_copy(update={"optimizer": new.optimizer.model_copy(update={"lr": 0.2, "options": {}})})
    assert labels([old, new]) == ["amsgrad, α = 0.2", "amsgrad, α = 0.1"]


def test_labels_with_long_values_are_cut_and_still_differ() -> None:
    trials = [trial({"name": SGD, "options": {"momentum": [0.0] * 100 + [end]}}) for end in (1.0, 2.0)]
    first, second = labels(trials)
    assert first != second
    assert max(len(first), len(second)) < 60


def test_equal_trials_are_rejected_or_named_by_the_ids_of_their_runs() -> None:
    twice = [trial(), trial("amsgrad"), trial()]
    with pytest.raises(ValueError, match=r"^optimizer adam is listed twice$"):
        labels(twice)
    with pytest.raises(ConfigError, match=r"^optimizer adam is listed twice$"):
        resolve({"optimizers": ["adam", "amsgrad", "adam"]})
    assert labels(twice, ["3f", "a0", "77"]) == ["adam 3f", "amsgrad", "adam 77"]
    with pytest.raises(ValueError, match=r"^optimizer adam 3f is listed twice$"):
        labels(twice, ["3f", "a0", "3f"])

    trials = [adam(beta2=0.99), adam(beta2=0.999), adam(label="adam, β2 = 0.99", beta2=0.5)]
    with pytest.raises(ConfigError, match=r"^optimizer adam, β2 = 0.99 is listed twice$"):
        resolve({"optimizers": trials})


numbers = st.sampled_from([0.1, 0.5, 0.9, 0.99, 1 - 1e-12, 1 / 3, 1 / 3 + 1e-15])
settings = st.fixed_dictionaries(
    {"name": st.sampled_from(["adam", "amsgrad"])},
    optional={
        "label": st.sampled_from(["mine", "adam"]),
        "lr": numbers,
        "beta1": numbers,
        "beta2": numbers,
        "eps": numbers,
        "optimized_update": st.booleans(),
    },
)
imported = st.fixed_dictionaries(
    {"name": st.just(SGD)},
    optional={
        "options": st.dictionaries(
            st.sampled_from(["momentum", "nesterov", "dampening"]), st.one_of(numbers, st.booleans())
        )
    },
)
setups = st.fixed_dictionaries(
    {"problem": st.sampled_from(["online", "theorem1", "stochastic", B])},
    optional={
        "schedule": st.sampled_from(["constant", "inv-sqrt"]),
        "steps": st.integers(1, 3),
        "seed": st.integers(0, 2),
        "dtype": st.sampled_from(["float32", "float64"]),
        "name": st.sampled_from(["one", "two"]),
        "fast_forward": st.booleans(),
    },
)
trials = st.builds(lambda optimizer, setup: trial(optimizer, **setup), st.one_of(settings, imported), setups)


@given(st.lists(trials, min_size=1, max_size=5))
def test_labels_differ_exactly_if_the_trials_do(several: list[Trial]) -> None:
    different = [one for number, one in enumerate(several) if one not in several[:number]]
    said = labels(different)
    assert len(set(said)) == len(different)
    for label, one in zip(said, different, strict=True):
        assert label.startswith(one.optimizer.label or one.optimizer.name)
        assert "\n" not in label
        assert len(re.findall(" = ", label)) <= 3 + len(different)
    ids = [f"run{number}" for number in range(len(several))]
    assert len(set(labels(several, ids))) == len(several)
    if len(different) < len(several):
        with pytest.raises(ValueError, match="is listed twice"):
            labels(several)


@given(st.lists(trials, min_size=2, max_size=4))
def test_a_label_does_not_depend_on_the_order_of_the_trials(several: list[Trial]) -> None:
    ids = [f"run{number}" for number in range(len(several))]
    assert labels(several[::-1], ids[::-1])[::-1] == labels(several, ids)
