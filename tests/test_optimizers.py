"""Tests of the optimizer classes' updates and of the arguments that they accept and reject."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from amsgrad_exp.optimizers import Adam, AdaptiveOptimizer, AMSGrad, RuleOptimizer, WeightDecay
from amsgrad_exp.rules import Optimizer, Rule
from tests.training import OWN, make_params, train

ADOPT = OWN["ADOPT"]
both_classes = pytest.mark.parametrize("kind", [Adam, AMSGrad])

shapes = st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=4)
betas = st.tuples(st.sampled_from([0.0, 0.5, 0.9]), st.sampled_from([0.0, 0.9, 0.999]))


def groups(params: list[nn.Parameter]) -> list[dict[str, Any]]:
    return [{"params": params[::2]}, {"params": params[1::2], "lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-6}]


@settings(max_examples=25)
@given(shapes, betas, st.booleans(), st.sampled_from([0.0, 0.1]), st.booleans(), st.integers(0, 2**20))
def test_the_textbook_update_equals_torchs(
    shapes: list[tuple[int, ...]], betas: tuple[float, float], amsgrad: bool, decay: float, decoupled: bool, seed: int
) -> None:
    """Also with both kinds of weight decay, and with groups that have settings of their own."""
    ours, theirs = make_params(shapes), make_params(shapes)
    shared: dict[str, Any] = {"lr": 0.01, "betas": betas, "eps": 1e-8}
    weight_decay = WeightDecay(decay, weight_decouple=decoupled)
    optimizer = (AMSGrad if amsgrad else Adam)(
        groups(ours) if len(ours) > 1 else ours, **shared, weight_decay=weight_decay, optimized_update=False
    )
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    reference = kind(groups(theirs) if len(theirs) > 1 else theirs, **shared, weight_decay=decay, amsgrad=amsgrad)
    for our, their in zip(train(optimizer, ours, seed), train(reference, theirs, seed), strict=True):
        torch.testing.assert_close(our, their, rtol=1e-11, atol=1e-13)


def test_absolute_weight_decay_does_not_depend_on_lr_but_is_off_at_lr_0() -> None:
    param = nn.Parameter(torch.ones(1, dtype=torch.float64))
    param.grad = torch.zeros(1, dtype=torch.float64)
    optimizer = AMSGrad([param], lr=1e-3, weight_decay=WeightDecay(0.25, absolute=True))
    optimizer.step()
    assert param.item() == 0.75
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    assert param.item() == 0.75


def test_a_weight_decay_is_stored_as_plain_values() -> None:
    params = make_params([(1,), (1,)])
    own: dict[str, Any] = {"params": params[1:], "weight_decay": WeightDecay(0.2, weight_decouple=False)}
    optimizer = AMSGrad([{"params": params[:1]}, own], weight_decay=WeightDecay(0.1, absolute=True))
    fields = [
        (group["weight_decay"], group["decoupled_weight_decay"], group["absolute_weight_decay"])
        for group in (*optimizer.param_groups, optimizer.defaults)
    ]
    assert fields == [(0.1, True, True), (0.2, False, False), (0.1, True, True)]
    optimizer.param_groups[0]["weight_decay"] = WeightDecay(0.3)
    train(optimizer, params, seed=1, steps=1)
    assert optimizer.param_groups[0]["weight_decay"] == 0.3


@pytest.mark.parametrize(
    ("kind", "option", "message"),
    [
        (AMSGrad, {"fused": True}, "^AMSGrad takes no fused$"),
        (Adam, {"amsgrad": True}, "^Adam takes no amsgrad$"),
        (ADOPT, {"momentum": 0.9}, "^ADOPT takes no momentum$"),
        (ADOPT, {"beta1": 0.9}, "^ADOPT takes no beta1$"),
        (Adam, {"dialect": "optax"}, "dialect"),
        (Adam, {"beta1_decay": "harmonic"}, "beta1_decay"),
    ],
)
def test_an_unknown_option_is_rejected(kind: Any, option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(make_params([(1,)]), **option)


def test_amsgrad_false_is_adam_for_all_groups_or_for_one() -> None:
    params, reference, other = (make_params([(3,), (2,)]) for _ in range(3))
    plain = train(Adam(reference, lr=0.1), reference, seed=3)
    off = train(AMSGrad(params, lr=0.1, amsgrad=False), params, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(plain, off, strict=True))
    separate: list[dict[str, Any]] = [{"params": other[:1]}, {"params": other[1:], "amsgrad": False}]
    optimizer = AMSGrad(separate, lr=0.1)
    mixed = train(optimizer, other, seed=3)
    assert not torch.equal(mixed[0], plain[0])
    assert torch.equal(mixed[1], plain[1])
    assert "max_exp_avg_sq" in optimizer.state[other[0]]
    assert "max_exp_avg_sq" not in optimizer.state[other[1]]


@both_classes
def test_sparse_gradients_and_complex_parameters_are_rejected(kind: type[Adam]) -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=f"{kind.__name__} needs dense gradients"):
        kind(embedding.parameters()).step()
    param = nn.Parameter(torch.zeros(1, dtype=torch.complex64))
    param.grad = torch.ones(1, dtype=torch.complex64)
    with pytest.raises(RuntimeError, match="needs real parameters"):
        kind([param]).step()


@both_classes
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("lr", -1.0),
        ("lr", float("nan")),
        ("betas", (1.0, 0.9)),
        ("betas", (0.9, -0.1)),
        ("betas", (0.9,)),
        ("betas", 0.9),
        ("lr", None),
        ("lr", "fast"),
        ("eps", -1e-8),
        ("weight_decay", -0.1),
        ("weight_decay", "0.1"),
        ("foreach", 1),
        ("maximize", None),
        ("decoupled_weight_decay", "yes"),
        ("eps", None),
        ("betas", None),
    ],
)
def test_an_invalid_argument_is_named(kind: type[Adam], argument: str, value: Any) -> None:
    params = make_params([(1,)])
    with pytest.raises(ValueError, match=f"^{argument} must be") as caught:
        kind(params, **{argument: value})
    assert str(value) in str(caught.value)
    optimizer = kind(params)
    with pytest.raises(ValueError, match=f"^{argument} must be"):
        optimizer.add_param_group({"params": make_params([(1,)]), argument: value})
    assert len(optimizer.param_groups) == 1


def test_a_weight_decay_is_validated_and_immutable() -> None:
    with pytest.raises(ValueError, match=r"weight_decay must be .* not -1"):
        WeightDecay(-1)
    with pytest.raises(ValueError, match="absolute=True requires weight_decouple=True"):
        WeightDecay(0.1, weight_decouple=False, absolute=True)
    with pytest.raises(AttributeError):
        WeightDecay().weight_decay = 1.0  # type: ignore[misc]


def test_the_callers_defaults_are_not_changed() -> None:
    class Scaled(AdaptiveOptimizer):
        def init_state(self, state: dict[str, Any], group: dict[str, Any], param: Tensor) -> None:
            state["step"] = torch.zeros(())

        def step_param(self, state: dict[str, Any], group: dict[str, Any], grad: Tensor, param: Tensor) -> None:
            param.add_(grad, alpha=-group["lr"] * group["scale"])

    mine = {"scale": 2.0}
    param = nn.Parameter(torch.zeros(1))
    param.grad = torch.ones(1)
    optimizer = Scaled([param], 0.5, (0.9, 0.99), 1e-8, WeightDecay(), defaults=mine)
    optimizer.step()
    assert mine == {"scale": 2.0}
    assert param.item() == -1.0
    shared = {"note": 1}
    AMSGrad([nn.Parameter(torch.zeros(1))], defaults=shared)
    assert shared == {"note": 1}


@pytest.mark.parametrize(
    ("title", "option", "value", "said"),
    [("ADOPT", "clip", False, "ADOPT took steps with other options than clip=False"), ("AdaShift", "n", 20, "n=20")],
)
def test_some_options_cannot_be_changed_after_a_step(title: str, option: str, value: Any, said: str) -> None:
    params = make_params([(2,)])
    optimizer = OWN[title](params)
    train(optimizer, params, seed=1, steps=1)
    optimizer.param_groups[0][option] = value
    with pytest.raises(RuntimeError, match=f"{said}$"):
        train(optimizer, params, seed=1, steps=1)


def test_a_rule_that_uses_the_iterate_is_passed_the_parameter() -> None:
    def shrink(g: Any, a: Any, c: Any, h: Any, x: Any) -> Any:
        return a * x, ()

    rule = Rule(shrink, uses_iterate=True)

    class Shrink(RuleOptimizer):
        optimizer = Optimizer(
            title="Shrink",
            summary="x itself",
            lines=("x_{t+1} = x_t − α_t·x_t",),
            source="no paper",
            rule=lambda options: rule,
            defaults={"lr": 0.5, "beta1": 0, "beta2": 0, "eps": 0},
        )

    (param,) = make_params([(3,)])
    before = param.detach().clone()
    train(Shrink([param]), [param], seed=1, steps=2)
    assert torch.equal(param, before / 4)
