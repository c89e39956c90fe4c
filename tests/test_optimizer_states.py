"""What Adam and AMSGrad keep: saved, copied, and handed on to and from torch.optim's."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from amsgrad_exp.optimizers import Adam, AMSGrad, WeightDecay
from tests.training import make_params, train

OPTIMIZERS = [Adam, AMSGrad]


def test_a_state_saved_before_there_were_dialects_is_gone_on_with() -> None:
    param = torch.nn.Parameter(torch.ones(1))
    optimizer = Adam([param])
    saved = optimizer.state_dict()
    del saved["param_groups"][0]["dialect"]
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["dialect"] == "torch"


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_goes_on_from_a_saved_state(kind: type[Adam], dtype: torch.dtype) -> None:
    params = make_params([(2, 3), (4,)], dtype=dtype)
    optimizer = kind(params, lr=0.01, weight_decay=WeightDecay(0.1))
    train(optimizer, params, seed=1)
    saved = io.BytesIO()
    torch.save(optimizer.state_dict(), saved)
    saved.seek(0)
    restored_params = [nn.Parameter(param.detach().clone()) for param in params]
    restored = kind(restored_params)
    restored.load_state_dict(torch.load(saved, weights_only=True))
    copied_params, copied = copy.deepcopy((params, optimizer))
    pickled_params, pickled = pickle.loads(pickle.dumps((params, optimizer)))
    expected = train(optimizer, params, seed=2)
    for other, other_params in [(restored, restored_params), (copied, copied_params), (pickled, pickled_params)]:
        assert other.param_groups[0]["weight_decay"] == WeightDecay(0.1)
        assert all(torch.equal(a, b) for a, b in zip(train(other, other_params, seed=2), expected, strict=True))
    assert all(param.dtype == dtype for param in params)


def test_state_goes_to_torch_and_back() -> None:
    ours, theirs, back = (make_params([(3,)]) for _ in range(3))
    optimizer = AMSGrad(ours, lr=0.01, eps=1e-8, optimized_update=False)
    train(optimizer, ours, seed=1)
    assert set(optimizer.state[ours[0]]) == {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
    reference = torch.optim.Adam(theirs, lr=0.01, amsgrad=True)
    saved = reference.state_dict()
    saved["state"] = copy.deepcopy(optimizer.state_dict()["state"])
    reference.load_state_dict(saved)
    theirs[0].data.copy_(ours[0].data)
    returned = AMSGrad(back, lr=0.01, eps=1e-8, optimized_update=False)
    saved = returned.state_dict()
    saved["state"] = copy.deepcopy(reference.state_dict()["state"])
    returned.load_state_dict(saved)
    back[0].data.copy_(ours[0].data)
    expected = train(optimizer, ours, seed=2)
    torch.testing.assert_close(train(reference, theirs, seed=2), expected, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(train(returned, back, seed=2), expected, rtol=0, atol=0)


def test_torchs_saved_state_is_taken_over_whole() -> None:
    theirs, ours = make_params([(3,)]), make_params([(3,)])
    reference = torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1, amsgrad=True)
    train(reference, theirs, seed=1)
    optimizer = AMSGrad(ours, optimized_update=False)
    optimizer.load_state_dict(copy.deepcopy(reference.state_dict()))
    assert optimizer.param_groups[0]["weight_decay"] == WeightDecay(0.1)
    ours[0].data.copy_(theirs[0].data)
    torch.testing.assert_close(train(optimizer, ours, seed=2), train(reference, theirs, seed=2), rtol=1e-11, atol=1e-13)


def test_amsgrad_goes_on_from_adam() -> None:
    params = make_params([(3,)])
    adam = Adam(params, lr=0.01)
    train(adam, params, seed=1)
    amsgrad = AMSGrad(params)
    amsgrad.load_state_dict(adam.state_dict())
    train(amsgrad, params, seed=2)
    assert torch.all(amsgrad.state[params[0]]["max_exp_avg_sq"] >= amsgrad.state[params[0]]["exp_avg_sq"])
