from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from amsgrad_exp import optimizers
from amsgrad_exp.optimizers import Adam, AdaptiveOptimizer, AMSGrad, RuleOptimizer, WeightDecay
from amsgrad_exp.rules import Optimizer, Rule
from tests.training import make_params, train

OPTIMIZERS = [Adam, AMSGrad]
ADOPT: Any = vars(optimizers)["ADOPT"]

shapes = st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=4)
betas = st.tuples(st.sampled_from([0.0, 0.5, 0.9]), st.sampled_from([0.0, 0.9, 0.999]))


def groups(params: list[nn.Parameter]) -> list[dict[str, Any]]:
    return [{"params": params[::2]}, {"params": params[1::2], "lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-6}]


@given(shapes, betas, st.booleans(), st.sampled_from([0.0, 0.1]), st.integers(0, 2**20))
def test_textbook_form_is_torchs(
    shapes: list[tuple[int, ...]], betas: tuple[float, float], amsgrad: bool, decay: float, seed: int
) -> None:
    ours, theirs = make_params(shapes), make_params(shapes)
    settings: dict[str, Any] = {"lr": 0.01, "betas": betas, "eps": 1e-8}
    weight_decay = WeightDecay(decay)
    optimizer = (AMSGrad if amsgrad else Adam)(
        groups(ours) if len(ours) > 1 else ours, **settings, weight_decay=weight_decay, optimized_update=False
    )
    kind = torch.optim.AdamW if decay else torch.optim.Adam
    reference = kind(groups(theirs) if len(theirs) > 1 else theirs, **settings, weight_decay=decay, amsgrad=amsgrad)
    for our, their in zip(train(optimizer, ours, seed), train(reference, theirs, seed), strict=True):
        torch.testing.assert_close(our, their, rtol=1e-11, atol=1e-13)


@given(shapes, st.booleans(), st.integers(0, 2**20))
def test_l2_weight_decay_is_torchs(shapes: list[tuple[int, ...]], amsgrad: bool, seed: int) -> None:
    ours, theirs = make_params(shapes), make_params(shapes)
    decay = WeightDecay(0.1, weight_decouple=False)
    optimizer = (AMSGrad if amsgrad else Adam)(ours, eps=1e-8, weight_decay=decay, optimized_update=False)
    reference = torch.optim.Adam(theirs, eps=1e-8, weight_decay=0.1, amsgrad=amsgrad)
    for our, their in zip(train(optimizer, ours, seed), train(reference, theirs, seed), strict=True):
        torch.testing.assert_close(our, their, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_both_forms_agree_where_eps_does_not_matter(kind: type[Adam]) -> None:
    folded, textbook = make_params([(3, 2)]), make_params([(3, 2)])
    first = train(kind(folded, lr=0.01, eps=0.0), folded, seed=1, steps=200)
    second = train(kind(textbook, lr=0.01, eps=0.0, optimized_update=False), textbook, seed=1, steps=200)
    torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-14)


def test_forms_place_eps_differently() -> None:
    """After one step of gradient 1: α/(1 + ε) in the textbook form, α·√(1−β2)/(√(1−β2) + ε) in the other."""
    for optimized, expected in [(False, 1 / 1.5), (True, 0.1 / (0.1 + 0.5))]:
        param = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        param.grad = torch.ones(1, dtype=torch.float64)
        Adam([param], lr=1.0, betas=(0.9, 0.99), eps=0.5, optimized_update=optimized).step()
        assert -param.item() == pytest.approx(expected, rel=1e-14)


def test_the_papers_dialect_corrects_nothing() -> None:
    for kind in (Adam, AMSGrad):
        param = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = kind([param], lr=1.0, betas=(0.9, 0.99), eps=0.5, dialect="paper")
        param.grad = torch.full_like(param, 2.0)
        optimizer.step()
        assert param.item() == pytest.approx(-0.2 / (0.2 + 0.5), rel=1e-12)
    with pytest.raises(ValueError, match="dialect"):
        Adam([param], dialect="optax")
    with pytest.raises(ValueError, match="beta1_decay"):
        Adam([param], beta1_decay="harmonic")


def test_absolute_weight_decay_ignores_the_learning_rate() -> None:
    param = nn.Parameter(torch.ones(1, dtype=torch.float64))
    param.grad = torch.zeros(1, dtype=torch.float64)
    AMSGrad([param], lr=1e-3, weight_decay=WeightDecay(0.25, absolute=True)).step()
    assert param.item() == 0.75


def test_amsgrad_off_is_adam_for_all_or_for_one_group() -> None:
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


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_learning_rate_schedulers_and_added_groups(kind: type[Adam]) -> None:
    first, second = make_params([(2,), (2,)])
    optimizer = kind([first], lr=0.1)
    optimizer.add_param_group({"params": [second], "lr": 0.0})
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    before = second.detach().clone()
    train(optimizer, [first, second], seed=1, steps=2)
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.0]
    assert torch.equal(second, before)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_closure_is_evaluated_with_gradients(kind: type[Adam]) -> None:
    param = nn.Parameter(torch.tensor([3.0]))
    optimizer = kind([param], lr=0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (param**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    assert optimizer.step(closure) == 9.0
    assert optimizer.step(closure) < 9.0


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_sparse_gradients_are_refused(kind: type[Adam]) -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=f"{kind.__name__} needs dense gradients"):
        kind(embedding.parameters()).step()


@pytest.mark.parametrize("kind", OPTIMIZERS)
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
        ("weight_decay", 0.1),
    ],
)
def test_bad_arguments_are_named(kind: type[Adam], argument: str, value: Any) -> None:
    params = make_params([(1,)])
    with pytest.raises(ValueError, match=f"^{argument} must be") as caught:
        kind(params, **{argument: value})
    assert str(value) in str(caught.value)
    optimizer = kind(params)
    with pytest.raises(ValueError, match=f"^{argument} must be"):
        optimizer.add_param_group({"params": make_params([(1,)]), argument: value})
    assert len(optimizer.param_groups) == 1


def test_weight_decay_is_checked_and_immutable() -> None:
    with pytest.raises(ValueError, match=r"weight_decay must be .* not -1"):
        WeightDecay(-1)
    with pytest.raises(ValueError, match="absolute=True goes with weight_decouple=True"):
        WeightDecay(0.1, weight_decouple=False, absolute=True)
    with pytest.raises(AttributeError):
        WeightDecay().weight_decay = 1.0  # type: ignore[misc]


def test_complex_parameters_are_refused() -> None:
    param = nn.Parameter(torch.zeros(1, dtype=torch.complex64))
    param.grad = torch.ones(1, dtype=torch.complex64)
    with pytest.raises(RuntimeError, match="needs real parameters"):
        Adam([param]).step()


def test_defaults_are_left_alone() -> None:
    class Scaled(AdaptiveOptimizer):
        def init_state(self, state: dict[str, Any], group: dict[str, Any], param: Tensor) -> None:
            state["step"] = 0

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


def test_a_class_made_of_a_rule_takes_what_the_rule_takes() -> None:
    params = make_params([(2,)])
    assert ADOPT(params).param_groups[0]["betas"] == (0.9, 0.9999)
    with pytest.raises(ValueError, match="ADOPT takes no beta1"):
        ADOPT(params, beta1=0.9)
    with pytest.raises(ValueError, match=r"^momentum: Extra inputs are not permitted, not 0\.9$"):
        ADOPT(params, momentum=0.9)


def test_a_rule_that_sees_x_gets_the_parameter() -> None:
    def shrink(g: Any, a: Any, c: Any, h: Any, x: Any) -> Any:
        return a * x, ()

    rule = Rule(shrink, {}, lambda t, scale, h: (scale, (), ()), (), sees_x=True)

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
