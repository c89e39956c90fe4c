"""Tests that the package's optimizer classes work in PyTorch programs as torch.optim.Adam does."""

import copy
import functools
import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import lr_scheduler

from tests.training import OWN_CLASSES, make_params, train

Kind = Callable[..., torch.optim.Optimizer]

# torch.optim.Adam shows that a test expects no more of a class than torch does.
every_class = pytest.mark.parametrize("kind", [*OWN_CLASSES, torch.optim.Adam])

SHAPES = [(2, 3), (), (0,), (4,), (3, 1, 2)]


def assert_same(one: list[Tensor], other: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(key) in (str, int) and is_plain(each) for key, each in value.items())
    if type(value) in (list, tuple):
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str, Tensor)


@every_class
def test_training_continues_from_a_copy_and_from_a_saved_state(kind: Kind) -> None:
    """The state has plain values only, since torch.load accepts nothing else by default."""

    def make(params: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        return kind([{"params": params[:2]}, {"params": params[2:], "weight_decay": 0.01}], lr=lr)

    for dtype in (torch.float32, torch.bfloat16):
        params = make_params(SHAPES, dtype=dtype)
        optimizer = make(params, 0.01)
        train(optimizer, params, seed=1)
        state = optimizer.state_dict()
        assert is_plain(state)
        assert "initial_lr" not in state["param_groups"][0]
        assert all(isinstance(each["step"], Tensor) for each in state["state"].values())
        saved = io.BytesIO()
        torch.save(state, saved)
        saved.seek(0)
        restored_params = [nn.Parameter(param.detach().clone()) for param in params]
        restored = make(restored_params, 0.5)
        restored.load_state_dict(torch.load(saved, weights_only=True))
        others = [(restored_params, restored), copy.deepcopy((params, optimizer))]
        others.append(pickle.loads(pickle.dumps((params, optimizer))))
        expected = train(optimizer, params, seed=2)
        for other_params, other in others:
            assert other.param_groups[0]["lr"] == 0.01
            assert_same(train(other, other_params, seed=2), expected)


SCHEDULERS: dict[str, Callable[..., Any]] = {
    "LambdaLR": lambda o, _: lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "MultiplicativeLR": lambda o, _: lr_scheduler.MultiplicativeLR(o, lambda epoch: 0.9),
    "StepLR": lambda o, _: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o, _: lr_scheduler.MultiStepLR(o, [2, 4]),
    "ConstantLR": lambda o, _: lr_scheduler.ConstantLR(o, total_iters=3),
    "LinearLR": lambda o, _: lr_scheduler.LinearLR(o, total_iters=4),
    "ExponentialLR": lambda o, _: lr_scheduler.ExponentialLR(o, 0.7),
    "PolynomialLR": lambda o, _: lr_scheduler.PolynomialLR(o, 5, power=2.0),
    "CosineAnnealingLR": lambda o, _: lr_scheduler.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda o, _: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "CyclicLR": lambda o, cycle: lr_scheduler.CyclicLR(o, 1e-4, 1e-2, 2, cycle_momentum=cycle),
    "OneCycleLR": lambda o, cycle: lr_scheduler.OneCycleLR(o, 1e-2, total_steps=8, cycle_momentum=cycle),
    "ReduceLROnPlateau": lambda o, _: lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "ChainedScheduler": lambda o, _: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(o, total_iters=2), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "SequentialLR": lambda o, _: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, total_iters=2), lr_scheduler.CosineAnnealingLR(o, 4)], milestones=[3]
    ),
}


@functools.cache
def scheduled(kind: Kind, betas: tuple[float, ...] | None, scheduler: str, given: str) -> list[tuple[Any, ...]]:
    """The lr and betas of each step, if lr is given as a number or a tensor, or set by hand."""
    lr = torch.tensor(1e-3) if given == "tensor" else 1e-3
    optimizer = kind(make_params([(2,)]), lr=lr, **({"betas": betas} if betas else {}))
    if given == "by hand":
        optimizer.param_groups[0]["lr"] = 1e-5
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch warns about how its own SequentialLR passes epochs
        schedule = SCHEDULERS[scheduler](optimizer, bool(betas))
        for _ in range(7):
            group = optimizer.param_groups[0]
            rates.append((float(group["lr"]), *group.get("betas", ())))
            optimizer.step()
            schedule.step(*([1.0] if scheduler == "ReduceLROnPlateau" else []))
    return rates


@every_class
@pytest.mark.parametrize("given", ["number", "tensor", "by hand"])
def test_schedulers_set_the_same_lr_and_betas_as_on_torchs_optimizers(kind: Kind, given: str) -> None:
    betas = kind(make_params([(1,)])).defaults.get("betas")
    reference = torch.optim.Adam if betas else torch.optim.SGD
    for scheduler in SCHEDULERS:
        expected = scheduled(reference, betas, scheduler, given)
        assert scheduled(kind, betas, scheduler, given) == expected, scheduler


def test_the_schedulers_above_are_all_that_torch_has() -> None:
    known = {
        name
        for name, kind in vars(lr_scheduler).items()
        if isinstance(kind, type) and name.endswith(("LR", "Restarts", "Plateau"))
    }
    assert known - {"LRScheduler", "_LRScheduler", "SWALR"} <= set(SCHEDULERS)


@pytest.mark.parametrize("kind", OWN_CLASSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_differs_from_float32_by_rounding_only(kind: Kind, dtype: torch.dtype) -> None:
    """In float16 the square of 10⁻⁵ is 0, and so is the default ε, 10⁻¹⁶; a gradient of 0 must not give NaN."""
    steps, (start,) = 12, make_params([(64,)], seed=3, dtype=dtype)
    half, single = nn.Parameter(start.detach().clone()), nn.Parameter(start.detach().float())
    optimizers = kind([half], lr=0.01), kind([single], lr=0.01)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        grad = torch.randn(64, generator=generator).to(dtype)
        grad[:4] = torch.tensor([0.0, 1e-5, -1e-3, 0.0])
        half.grad, single.grad = grad, grad.float()
        for optimizer in optimizers:
            optimizer.step()
    assert half.dtype == dtype
    tolerance = steps * torch.finfo(dtype).eps * float(single.detach().abs().max())
    torch.testing.assert_close(half.detach().float(), single.detach(), rtol=0, atol=tolerance)


@every_class
def test_foreach_gives_the_same_bits_as_the_loop(kind: Kind) -> None:
    results = []
    for foreach in (False, True, None):
        params = [
            *make_params(SHAPES, dtype=torch.float32),
            *make_params([(3, 4)]),
            *make_params([(5,)], dtype=torch.bfloat16),
        ]
        params.append(nn.Parameter(torch.arange(12.0).reshape(3, 4).t()))
        halves = [{"params": params[:4], "weight_decay": 0.1}, {"params": params[4:]}]
        optimizer = kind(halves, lr=0.01, foreach=foreach)
        results.append(
            train(optimizer, params, seed=1)
            + [each for state in optimizer.state.values() for each in state.values() if isinstance(each, Tensor)]
        )
    assert_same(results[1], results[0])
    assert_same(results[2], results[0])


@every_class
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # which torch uses to compile torch.optim.Adam
def test_a_compiled_step_equals_the_plain_step(kind: Kind) -> None:
    compiled_params, params = (make_params([(3,), (2,)]) for _ in range(2))
    compiled, optimizer = kind(compiled_params, lr=0.01), kind(params, lr=0.01)
    step = torch.compile(compiled.step, backend="eager")
    for _ in range(3):
        for one in (compiled_params, params):
            for param in one:
                param.grad = torch.ones_like(param)
        step()
        optimizer.step()
    torch.testing.assert_close(compiled_params, params, rtol=1e-6, atol=1e-9)
    torch._dynamo.reset()


@every_class
@pytest.mark.parametrize("flatten", [False, True])
def test_a_state_passes_through_torchs_distributed_checkpoints(kind: Kind, flatten: bool) -> None:
    options = StateDictOptions(flatten_optimizer_state_dict=flatten)
    models = [nn.Linear(3, 2), nn.Linear(3, 2)]
    models[1].load_state_dict(models[0].state_dict())
    one, other = (kind(model.parameters(), lr=0.01) for model in models)
    train(one, list(models[0].parameters()), seed=1, steps=3)
    models[1].load_state_dict(models[0].state_dict())
    saved = copy.deepcopy(get_optimizer_state_dict(models[0], one, options=options))
    set_optimizer_state_dict(models[1], other, saved, options=options)
    assert_same(list(models[1].parameters()), list(models[0].parameters()))
    assert_same(train(other, list(models[1].parameters()), seed=2), train(one, list(models[0].parameters()), seed=2))


@every_class
def test_a_step_with_lr_0_changes_no_parameter(kind: Kind) -> None:
    """torch's distributed checkpoints take such a step to create the state."""
    params = make_params([(3,)])
    before = [param.detach().clone() for param in params]
    optimizer = kind(params, lr=0.0)
    assert_same(train(optimizer, params, seed=1), before)


@every_class
def test_a_grad_scaler_skips_steps_with_infinite_gradients(kind: Kind) -> None:
    (scaled,), (plain,) = (make_params([(3,)], dtype=torch.float32) for _ in range(2))
    with_scaler, without = kind([scaled], lr=0.01), kind([plain], lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=100)
    for factor in (1.0, float("inf"), 0.5):
        for param in (scaled, plain):
            param.grad = None
        scaler.scale((scaled * factor).sum()).backward()  # type: ignore[no-untyped-call]
        scaler.step(with_scaler)
        scaler.update()
        if factor < float("inf"):
            (plain * factor).sum().backward()  # type: ignore[no-untyped-call]
            without.step()
    torch.testing.assert_close(scaled, plain, rtol=1e-6, atol=0)


@pytest.fixture(scope="module")
def zero_redundancy() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which torch itself uses there
        from torch.distributed.optim import ZeroRedundancyOptimizer
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield ZeroRedundancyOptimizer
    dist.destroy_process_group()


@every_class
def test_a_zero_redundancy_optimizer_equals_the_plain_one(kind: Kind, zero_redundancy: Any) -> None:
    sharded_params, params = (make_params([(3,), (2, 2)]) for _ in range(2))
    sharded, optimizer = zero_redundancy(sharded_params, kind, lr=0.01), kind(params, lr=0.01)
    assert_same(train(sharded, sharded_params, seed=1), train(optimizer, params, seed=1))
    sharded.consolidate_state_dict()
    saved = sharded.state_dict()
    assert is_plain(saved)
    sharded.load_state_dict(saved)
    assert_same(train(sharded, sharded_params, seed=2), train(optimizer, params, seed=2))


@every_class
def test_groups_are_added_and_parameters_have_names(kind: Kind) -> None:
    first, second, frozen = make_params([(2,), (2,), (2,)])
    optimizer = kind([("first", first)], lr=0.1)
    optimizer.add_param_group({"params": [("second", second), ("frozen", frozen)], "lr": 0.05})
    train(optimizer, [first, second], seed=1, steps=12)
    saved = optimizer.state_dict()
    assert [group["param_names"] for group in saved["param_groups"]] == [["first"], ["second", "frozen"]]
    assert frozen not in optimizer.state
    assert torch.equal(frozen, make_params([(2,), (2,), (2,)])[2])
    unnamed = make_params([(2,), (2,)])
    other = kind(unnamed[:1], lr=0.1)
    other.add_param_group({"params": unnamed[1:], "lr": 0.05})
    assert_same(train(other, unnamed, seed=1, steps=12), [first, second])


@every_class
def test_gradients_may_be_zeroed_in_place(kind: Kind) -> None:
    (kept,), (renewed,) = (make_params([(3,)]) for _ in range(2))
    one, other = kind([kept], lr=0.01), kind([renewed], lr=0.01)
    kept.grad = torch.zeros_like(kept)
    generator = torch.Generator().manual_seed(1)
    for _ in range(25):
        grad = torch.randn(3, generator=generator, dtype=torch.float64)
        one.zero_grad(set_to_none=False)
        kept.grad.add_(grad)
        renewed.grad = grad
        one.step()
        other.step()
    assert torch.equal(kept, renewed)


@every_class
def test_a_closure_is_evaluated_with_gradients(kind: Kind) -> None:
    param = nn.Parameter(torch.tensor([3.0]))
    optimizer: Any = kind([param], lr=0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (param**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    losses = [optimizer.step(closure) for _ in range(30)]
    assert losses[0] == 9.0
    assert losses[-1] < 9.0


@every_class
def test_weight_decay_is_l2_or_decoupled_and_may_change_between_steps(kind: Kind) -> None:
    """An L2 penalty is added to the gradient; decoupled decay shrinks the parameter first."""
    for decoupled in (False, True):
        decayed, expected = (make_params([(3,), (2,)]) for _ in range(2))
        groups = [{"params": decayed[:1]}, {"params": decayed[1:], "weight_decay": 0.0}]
        optimizer = kind(groups, lr=0.01, weight_decay=0.1, decoupled_weight_decay=decoupled)
        plain = kind(expected, lr=0.01)
        generator = torch.Generator().manual_seed(1)
        for step in range(12):
            rate = 0.1 if step < 6 else 0.05
            optimizer.param_groups[0]["weight_decay"] = rate
            for one, other in zip(decayed, expected, strict=True):
                one.grad = torch.randn(one.shape, generator=generator, dtype=torch.float64)
                other.grad = one.grad.clone()
            with torch.no_grad():
                if decoupled:
                    expected[0].mul_(1 - 0.01 * rate)
                else:
                    expected[0].grad = expected[0].grad.add(expected[0], alpha=rate)  # type: ignore[union-attr]
            optimizer.step()
            plain.step()
        torch.testing.assert_close(decayed, expected, rtol=1e-12, atol=1e-14)


@every_class
def test_maximize_steps_along_the_gradient(kind: Kind) -> None:
    up, down = (make_params([(3,)]) for _ in range(2))
    climbing, descending = kind(up, lr=0.01, maximize=True), kind(down, lr=0.01)
    for _ in range(12):
        up[0].grad, down[0].grad = torch.ones(3, dtype=torch.float64), -torch.ones(3, dtype=torch.float64)
        climbing.step()
        descending.step()
    assert torch.equal(up[0], down[0])
