"""Tests of the optimizer classes: their updates, their arguments, and states of torch.optim and of older versions."""

import copy
import functools
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_optimizer
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from amsgrad_exp import optimizers
from amsgrad_exp.optimizers import Adam, AdaptiveOptimizer, AMSGrad, RuleOptimizer, WeightDecay
from amsgrad_exp.rules import OPTIMIZERS, Optimizer, Rule
from tests.training import OWN, make_params, train

ADABOUND, ADOPT, NADAM = OWN["AdaBound"], OWN["ADOPT"], OWN["NAdam"]
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


Make = Callable[..., Any]

SHARED: dict[str, tuple[Make, Make]] = {
    "Adam": (
        lambda params, **more: Adam(params, lr=0.01, eps=1e-8, optimized_update=False, weight_decay=0.1),
        lambda params, **more: torch.optim.Adam(params, lr=0.01, weight_decay=0.1, **more),
    ),
    "AMSGrad": (
        lambda params, **more: AMSGrad(params, lr=0.01, eps=1e-8, optimized_update=False),
        lambda params, **more: torch.optim.Adam(params, lr=0.01, amsgrad=True, **more),
    ),
    "AdamW": (
        lambda params, **more: Adam(
            params, lr=0.01, eps=1e-8, optimized_update=False, weight_decay=0.1, decoupled_weight_decay=True
        ),
        lambda params, **more: torch.optim.AdamW(params, lr=0.01, weight_decay=0.1, **more),
    ),
    "NAdam": (
        lambda params, **more: NADAM(params, lr=0.01, weight_decay=0.1),
        lambda params, **more: torch.optim.NAdam(params, lr=0.01, weight_decay=0.1, **more),
    ),
}
"""Our class and torch.optim's, where the package has a class of its own."""


def test_the_other_optimizers_of_torch_are_torchs_classes() -> None:
    torchs = {known.title for known in OPTIMIZERS.values() if hasattr(torch.optim, known.title)}
    for title in torchs - SHARED.keys() | {"AdamW"}:
        assert vars(optimizers)[title] is getattr(torch.optim, title)


def assert_state_is_handed_over(make_one: Make, make_other: Make, steps: int, *, compiled: bool = False) -> None:
    """Train one, load its state into the other, and train both for 100 steps more."""
    params, others = (make_params([(3, 2), (4,)]) for _ in range(2))
    one = make_one(params)
    if compiled:
        one.step = torch.compile(one.step, backend="eager")
    train(one, params, seed=1, steps=steps)
    other = make_other(others)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for param, trained in zip(others, params, strict=True):
        param.data.copy_(trained.data)
    # torch.optim.NAdam keeps a product in float32, and compiled steps compute corrections in it.
    later, expected = (train(*pair, seed=2, steps=100) for pair in ((other, others), (one, params)))
    torch.testing.assert_close(later, expected, rtol=2e-6, atol=1e-6 if compiled else 1e-9)


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("steps", [0, 1, 300])
def test_torch_loads_our_state_and_we_load_torchs(name: str, steps: int) -> None:
    ours, theirs = SHARED[name]
    assert_state_is_handed_over(ours, theirs, steps)
    for option in ("foreach", "fused", "maximize", None):
        if (name, option) != ("NAdam", "fused"):  # torch has no fused NAdam
            more = {option: True} if option else {}
            assert_state_is_handed_over(functools.partial(theirs, **more), ours, steps)


@pytest.mark.parametrize("name", ["AMSGrad", "NAdam"])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_states_of_capturable_optimizers_are_loaded(name: str) -> None:
    """On a CPU torch runs such an optimizer only when it is compiled."""
    ours, theirs = SHARED[name]
    assert_state_is_handed_over(lambda params: theirs(params, capturable=True), ours, 3, compiled=True)
    torch._dynamo.reset()


def test_a_group_loaded_from_torch_adds_eps_where_torch_does() -> None:
    (theirs,) = make_params([(3,)])
    optimizer = Adam(make_params([(3,)]))
    assert optimizer.param_groups[0]["optimized_update"] is True
    optimizer.load_state_dict(torch.optim.Adam([theirs]).state_dict())
    assert optimizer.param_groups[0]["optimized_update"] is False


def test_amsgrad_warns_when_a_loaded_state_makes_it_adam() -> None:
    params = make_params([(3,)])
    saved = torch.optim.Adam(params).state_dict()
    with pytest.warns(UserWarning, match="amsgrad=False"):
        AMSGrad(params).load_state_dict(saved)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AMSGrad(params, amsgrad=False).load_state_dict(saved)
        AMSGrad(params).load_state_dict(torch.optim.Adam(params, amsgrad=True).state_dict())


def test_amsgrad_continues_from_the_state_of_our_adam() -> None:
    params = make_params([(3,)])
    adam = Adam(params, lr=0.01)
    train(adam, params, seed=1)
    amsgrad = AMSGrad(params)
    amsgrad.load_state_dict(adam.state_dict())
    train(amsgrad, params, seed=2)
    assert torch.all(amsgrad.state[params[0]]["max_exp_avg_sq"] >= amsgrad.state[params[0]]["exp_avg_sq"])


OLD = Path(__file__).parent / "data" / "0.2.0" / "optimizers.pt"
"""Of each class: a state_dict, the parameters at that time, and the parameters 12 steps later, computed by 0.2.0."""


@pytest.mark.parametrize("title", OWN)
def test_training_from_a_state_of_0_2_0_gives_the_same_bits(title: str) -> None:
    old = torch.load(OLD, weights_only=True)[title]
    params = [nn.Parameter(value) for value in old["params"]]
    optimizer = OWN[title]([{"params": params[:1]}, {"params": params[1:]}])
    optimizer.load_state_dict(old["optimizer"])
    assert all(torch.equal(a, b) for a, b in zip(train(optimizer, params, seed=2), old["later"], strict=True))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.1]
    assert [group["decoupled_weight_decay"] for group in optimizer.param_groups] == [False, True]


def test_states_of_0_1_0_are_loaded() -> None:
    """Their groups have no dialect, and their pickles name WeightDecay by the module in which it was then."""
    assert pickle.loads(b"camsgrad_exp.optimizers.base\nWeightDecay\n.") is WeightDecay
    params = make_params([(2,)])
    moments = {"exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2), "max_exp_avg_sq": torch.ones(2)}
    group = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-16, "weight_decay": WeightDecay(), "optimized_update": True}
    optimizer = AMSGrad(params)
    optimizer.load_state_dict(
        {"state": {0: {"step": 7, **moments}}, "param_groups": [group | {"amsgrad": True, "params": [0]}]}
    )
    (loaded,) = optimizer.param_groups
    assert (loaded["optimized_update"], loaded["dialect"], loaded["weight_decay"]) == (True, "torch", 0.0)
    train(optimizer, params, seed=1, steps=1)
    assert optimizer.state[params[0]]["step"] == 8


def saved_by(kind: Make, shape: tuple[int, ...] = (3,), **arguments: Any) -> dict[str, Any]:
    params = make_params([shape])
    optimizer = kind(params, lr=0.01, **arguments)
    train(optimizer, params, seed=1, steps=3)
    saved: dict[str, Any] = copy.deepcopy(optimizer.state_dict())
    return saved


def changed(saved: dict[str, Any], **state: Any) -> dict[str, Any]:
    saved["state"][0] |= state
    return saved


SGD, ADAMAX, RMSPROP = torch.optim.SGD, torch.optim.Adamax, torch.optim.RMSprop
UNFIT: list[tuple[Make, Callable[[], Any], str]] = [
    (AMSGrad, lambda: saved_by(SGD, momentum=0.9), "AMSGrad cannot load a parameter group without betas"),
    (ADOPT, lambda: saved_by(ADAMAX), "ADOPT cannot load the state of parameter 0: it has no clipping, exp_avg_sq"),
    (AMSGrad, lambda: saved_by(ADAMAX), "AMSGrad cannot load the state of parameter 0: it has no exp_avg_sq"),
    (Adam, lambda: saved_by(torch.optim.NAdam), "parameter 0: it has mu_product, which Adam does not keep"),
    (Adam, lambda: saved_by(torch.optim.Adam, amsgrad=True), "with amsgrad=True; AMSGrad can"),
    (NADAM, lambda: saved_by(torch.optim.Adam), "it has no mu_product"),
    (ADABOUND, lambda: saved_by(torch.optim.Adam), "it has no power1, power2"),
    (Adam, lambda: saved_by(RMSPROP), "Adam cannot load a parameter group without betas"),
    (AMSGrad, lambda: saved_by(AMSGrad, (2, 3)), r"its exp_avg is not a tensor of shape \(3,\): \(2, 3\)"),
    (AMSGrad, lambda: changed(saved_by(AMSGrad), step="three"), "its step is not a number of at least 0: 'three'"),
    (AMSGrad, lambda: changed(saved_by(AMSGrad), exp_avg=0.5), "its exp_avg is not a tensor of shape"),
    (ADOPT, lambda: changed(saved_by(ADOPT), clipping=torch.ones(2)), "its clipping is not a number"),
    (ADOPT, lambda: changed(saved_by(ADOPT), carry=(1.0, 2.0)), "its carry has 2 numbers, not 1"),
    (AMSGrad, lambda: saved_by(AMSGrad) | {"state": {0: [1.0]}}, "the state of parameter 0 is not a dict"),
    (AMSGrad, lambda: {"model": 1}, "an optimizer's state_dict has state and param_groups, not model"),
]


@pytest.mark.parametrize(("kind", "saved", "message"), UNFIT)
def test_a_state_that_does_not_fit_is_rejected_and_nothing_changes(kind: Make, saved: Any, message: str) -> None:
    params = make_params([(3,)])
    optimizer = kind(params, lr=0.5)
    train(optimizer, params, seed=4, steps=2)
    before, values = copy.deepcopy(optimizer.state_dict()), [param.detach().clone() for param in params]
    with pytest.raises(ValueError, match=message) as caught:
        optimizer.load_state_dict(saved())
    assert "\n" not in str(caught.value)
    now = optimizer.state_dict()
    torch.testing.assert_close((now["state"], params), (before["state"], values), rtol=0, atol=0)
    assert now["param_groups"] == before["param_groups"]
    train(optimizer, params, seed=5, steps=2)


READ = """
import importlib.abc, sys
class Without(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "amsgrad_exp":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Without())
import torch
for saved in torch.load(sys.argv[1])["optimizers"]:
    assert saved["state"][0]["step"] == 3
    assert saved["param_groups"][0]["weight_decay"] == 0.01
torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))]).load_state_dict(torch.load(sys.argv[1])["optimizers"][0])
"""


def test_a_checkpoint_is_read_without_this_package(tmp_path: Path) -> None:
    states = [saved_by(kind, weight_decay=WeightDecay(0.01)) for kind in OWN.values()]
    torch.save({"model": nn.Linear(2, 2).state_dict(), "optimizers": states}, tmp_path / "checkpoint.pt")
    subprocess.run([sys.executable, "-I", "-c", READ, tmp_path / "checkpoint.pt"], check=True)


def test_adabounds_final_lr_falls_with_a_schedule_as_published() -> None:
    """lr may be a number or a tensor here; pytorch_optimizer's AdaBound, with which we compare, takes numbers only."""
    tensor, released = torch.tensor(1e-3, dtype=torch.float64), pytorch_optimizer.AdaBound
    cases: list[tuple[Make, Any]] = [(ADABOUND, 1e-3), (ADABOUND, tensor), (released, 1e-3)]
    results = []
    for kind, lr in cases:
        params = make_params([(3,)])
        optimizer = kind(params, lr=lr, eps=1e-8)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=30, cycle_momentum=False)
        for step in range(30):
            train(optimizer, params, seed=step, steps=1)
            scheduler.step()
        results.append(params[0].detach())
        assert kind is released or isinstance(optimizer.param_groups[0]["base_lr"], float)
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(results[2], results[0], rtol=1e-9, atol=0)
