"""Optimizers that try to be recorded wrongly: each must not be compiled, or give the literal loop's bits."""

from __future__ import annotations

import array
import collections
import contextlib
import itertools
import json as text
import math
import random
import struct
from datetime import datetime
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

TABLE = [1.0, 0.5, 0.25]
GLOBAL = {"t": 0}
COUNT = itertools.count()
STEEP = 6.0


class Base(Optimizer):
    """Keeps a count t, as a Python number in its state, and a momentum."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})
        self.begin()

    def begin(self) -> None:
        pass

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                s = self.state[p]
                if not s:
                    s["t"], s["m"] = 0, torch.zeros_like(p)
                s["t"] += 1
                s["m"].mul_(0.9).add_(p.grad, alpha=0.1)
                with torch.no_grad():
                    self.rule(p, s, s["t"], group["lr"])

    def rule(self, p: Any, s: Any, t: Any, lr: Any) -> None:
        raise NotImplementedError


def times(factor: Any) -> Any:
    """An optimizer whose step is scaled by a function of its parts."""

    def rule(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
        p.add_(s["m"], alpha=-lr * factor(self, p, s, t, lr))

    return rule


def hostile(rule: Any, **more: Any) -> type[Base]:
    return type("Hostile", (Base,), {"rule": rule, **more})


def _restart(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    if t % 1000 == 0:
        s["m"].zero_()
    p.add_(s["m"], alpha=-lr)


def _restart_int(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    if int(t) % 1000 == 0:
        s["m"].zero_()
    p.add_(s["m"], alpha=-lr)


def _tensor_counter(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    s["n"] = s.get("n", torch.zeros(())) + 1
    p.add_(s["m"] * torch.where(s["n"] % 700 == 0, 0.0, 1.0), alpha=-lr)


def _global_count(self: Any, p: Any, s: Any, t: Any, lr: Any) -> float:
    GLOBAL["t"] += 1
    return 0.5 if GLOBAL["t"] > 3000 else 1.0


def _closure(self: Any) -> None:
    n = 0

    def count() -> int:
        nonlocal n
        n += 1
        return n

    self.count = count


def _queue(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    self.q.append(p.grad.clone())
    p.add_(self.q[0], alpha=-lr)


def _list_of_numbers(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    self.q.append(p.grad.item())
    p.add_(p.grad, alpha=-lr * (1.0 if sum(self.q) > 0 else 2.0))


def _late_flag(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    if t > 2500:
        s["late"] = True
    p.add_(s["m"], alpha=-lr * (0.5 if s.get("late") else 1.0))


def _string_state(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    self.mode = {"a": "b", "b": "c", "c": "a"}[self.mode]
    p.add_(s["m"], alpha=-lr * (0.5 if self.mode == "a" else 1.0))


def _array_state(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    self.n += 1
    p.add_(s["m"], alpha=-lr * float(1 / (1 + self.n[0] % 50)))


def _tensor_branch(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    p.add_(s["m"], alpha=-lr * 2 if s["m"] > STEEP else -lr)


def _counted_on_data(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    if s["m"].item() > STEEP:
        self.steep += 1
    p.add_(s["m"], alpha=-lr / (1 + self.steep))


def _data_set(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    p.data = p.data - lr * s["m"]


def _bits(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    p.add_(s["m"].view(torch.int32).bitwise_and(-4096).view(torch.float32), alpha=-lr)


def _grad_kept(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    p.add_(s["m"] if self.last is None else self.last, alpha=-lr)
    self.last = p.grad


def _lr_changed(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    p.add_(s["m"], alpha=-lr)
    self.param_groups[0]["lr"] *= 0.99


def _fast_past(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    """A restart when x has moved far: on data, and once in a while."""
    if abs(p.item() - s.setdefault("x", p.item())) > 0.01:
        s["x"] = p.item()
        s["m"].zero_()
    p.add_(s["m"], alpha=-lr)


def _late_alias(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    """From a steep step on, two names for one tensor."""
    s["n"] = s.get("n", torch.zeros_like(p)).mul_(0.5) if s["m"].item() <= STEEP else s["m"]
    p.add_(s["n"] + s["m"], alpha=-lr)


def _byte(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    s["n"] = s.get("n", torch.zeros((), dtype=torch.uint8)) + 3
    p.add_(s["m"] * s["n"], alpha=-lr / 255)


def _generator(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    """Integers that wrap around: a random generator, in the end."""
    s["n"] = s.get("n", torch.ones((), dtype=torch.int64)) * 7
    p.add_(s["m"] * s["n"].cos(), alpha=-lr)


def _float_counter(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    s["n"] = s.get("n", torch.zeros(())) + 1
    p.add_(s["m"], alpha=-lr * (0.5 if s["n"].item() > 3000 else 1 / s["n"].item()))


def _views(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    s["m"].view(-1)[0].mul_(0.5)
    s["m"].unsqueeze(0)[:, 0] += p.grad
    p.add_(s["m"], alpha=-lr)


def _wide_state(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    s["n"] = s.get("n", torch.zeros(1, dtype=torch.float64)) * 0.99 + s["m"]
    p.add_(s["n"] * torch.tensor(0.1, dtype=torch.float64) + s["m"] * torch.tensor(0.3), alpha=-lr)


def _half_state(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    s["n"] = s.get("n", torch.zeros(1, dtype=torch.bfloat16)) * 0.9 + p.grad.bfloat16()
    p.add_(s["n"], alpha=-lr)


def _steep_mask(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    steep = s["m"] > STEEP
    p.add_(s["m"].masked_fill(steep, 1.0) + torch.where(steep & (p > 0), p.grad, s["m"]) * steep, alpha=-lr)


def _ratio(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    """NaN where a gradient is 0, and limits that are tensors, a NaN now and then."""
    ratio = s["m"] / (p.grad * (p.grad.abs() > 20))
    high = torch.minimum(torch.maximum(ratio, s["m"]), torch.ones_like(p))
    p.add_(torch.nan_to_num(ratio.clamp(-high.abs(), high.abs())), alpha=-lr)


def _zero_signed(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    p.add_((1 / (s["m"] * 0.0)).clamp(-1, 1).nan_to_num() + (s["m"] * 0.0).atan2(-torch.ones_like(p)), alpha=-lr)


def _both_branches(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    s["m"].lerp_(p.grad, s["m"].sigmoid())
    p.lerp_(s["m"].sign(), min(1.0, lr * 60))


def _quotients(self: Any, p: Any, s: Any, t: Any, lr: Any) -> None:
    p.addcdiv_(s["m"], p.grad.abs() + 1e-3, value=-lr * (t % 3)).addcmul_(s["m"], s["m"], value=-lr / t)


def _catches(self: Any, p: Any, s: Any, t: Any, lr: Any) -> Any:
    try:
        return 1.0 / (t - 3000)
    except ZeroDivisionError:
        return 5.0


def _too_large(self: Any, p: Any, s: Any, t: Any, lr: Any) -> float:
    try:
        return min(3.0, 1e-300 * math.exp(50 * s["m"].item()))
    except OverflowError:
        return 0.5


def _no_root(self: Any, p: Any, s: Any, t: Any, lr: Any) -> float:
    with contextlib.suppress(ValueError):
        return math.sqrt(STEEP - s["m"].item())
    return 0.5


def _imports_inside(self: Any, p: Any, s: Any, t: Any, lr: Any) -> float:
    import time

    return 0.5 if time.time() < 0 else 1.0


def _set(**values: Any) -> Any:
    """Sets attributes at the start."""

    def begin(self: Any) -> None:
        for name, make in values.items():
            setattr(self, name, make())

    return begin


HOSTILE: dict[str, type[Base]] = {
    "warm": hostile(times(lambda self, p, s, t, lr: 0.01 if t < 3000 else 1.0)),
    "restart": hostile(_restart),
    "restart_int": hostile(_restart_int),
    "numpy_sqrt": hostile(times(lambda self, p, s, t, lr: float(1 / np.sqrt(t)))),
    "table": hostile(times(lambda self, p, s, t, lr: TABLE[t // 1500 % 3])),
    "floats": hostile(times(lambda self, p, s, t, lr: 2.0 if float(s["m"]) > STEEP else 1.0)),
    "items": hostile(times(lambda self, p, s, t, lr: 2.0 if s["m"].item() > STEEP else 1.0)),
    "tensor_branch": hostile(_tensor_branch),
    "arrays": hostile(times(lambda self, p, s, t, lr: 2.0 if s["m"].numpy()[0] > STEEP else 1.0)),
    "lists": hostile(times(lambda self, p, s, t, lr: s["m"].tolist()[0])),
    "global_count": hostile(times(_global_count)),
    "closure_count": hostile(times(lambda self, p, s, t, lr: 0.5 if self.count() > 3000 else 1.0), begin=_closure),
    "queue": hostile(_queue, begin=_set(q=lambda: collections.deque(maxlen=30))),
    "random_now": hostile(times(lambda self, p, s, t, lr: np.random.rand())),
    "small_lr": hostile(times(lambda self, p, s, t, lr: max(lr, 2e-4) / lr)),
    "string": hostile(times(lambda self, p, s, t, lr: 0.5 if len(str(t)) > 3 else 1.0)),
    "tensor_where": hostile(times(lambda self, p, s, t, lr: torch.where(s["m"].abs() > STEEP, 2.0, 1.0).item())),
    "data_set": hostile(_data_set),
    "imported_sqrt": hostile(times(lambda self, p, s, t, lr: 0.5 if sqrt(t) > 50 else 1.0)),
    "numpy_branch": hostile(times(lambda self, p, s, t, lr: 0.5 if np.log(t) > 8 else 1.0)),
    "hashed": hostile(times(lambda self, p, s, t, lr: {1500: 9.0, 2500: 0.0}.get(t, 1.0))),
    "rounded": hostile(times(lambda self, p, s, t, lr: 1.0 / (1 + round(t / 1000)))),
    "floor": hostile(times(lambda self, p, s, t, lr: 1.0 / (1 + math.floor(t / 1000)))),
    "packed": hostile(times(lambda self, p, s, t, lr: 0.5 if struct.pack(">d", t)[1] > 0xA0 else 1.0)),
    "json": hostile(times(lambda self, p, s, t, lr: text.loads(text.dumps(t)) % 7 / 7)),
    "iterator": hostile(times(lambda self, p, s, t, lr: 0.5 if next(COUNT) > 3000 else 1.0)),
    "random_choice": hostile(times(lambda self, p, s, t, lr: random.choice([0.5, 1.0]))),
    "torch_rand": hostile(times(lambda self, p, s, t, lr: torch.rand(()).item())),
    "tensor_counter": hostile(_tensor_counter),
    "list_of_numbers": hostile(_list_of_numbers, begin=_set(q=lambda: collections.deque(maxlen=30))),
    "late_flag": hostile(_late_flag),
    "string_state": hostile(_string_state, begin=_set(mode=lambda: "a")),
    "array_state": hostile(_array_state, begin=_set(n=lambda: np.zeros(1))),
    "counted_on_data": hostile(_counted_on_data, begin=_set(steep=int)),
    "bits": hostile(_bits),
    "grad_kept": hostile(_grad_kept, begin=_set(last=lambda: None)),
    "lr_changed": hostile(_lr_changed),
    "fast_past": hostile(_fast_past),
    "power_of_x": hostile(times(lambda self, p, s, t, lr: abs(p.item()) ** 0.5)),
    "remainder": hostile(times(lambda self, p, s, t, lr: 1 / (1 + divmod(t, 300)[1]))),
    # numbers that are the same in every recording, or read without asking them
    "mask_item": hostile(times(lambda self, p, s, t, lr: 1 + (s["m"].abs() > STEEP).float().item())),
    "mask_as_integer": hostile(times(lambda self, p, s, t, lr: 1 + (s["m"].abs() > STEEP).long().item())),
    "mask_as_factor": hostile(lambda self, p, s, t, lr: p.mul_((s["m"].abs() < STEEP).float().item())),
    "mask_as_tensor": hostile(times(lambda self, p, s, t, lr: torch.tensor((s["m"] > STEEP).double().item()).item())),
    "clamped_item": hostile(times(lambda self, p, s, t, lr: s["m"].abs().clamp(min=STEEP).item())),
    "larger_of_two": hostile(times(lambda self, p, s, t, lr: max(s["m"].item(), STEEP, key=abs))),
    "complex_item": hostile(times(lambda self, p, s, t, lr: 2.0 if complex(s["m"].item()).real > STEEP else 1.0)),
    "written": hostile(times(lambda self, p, s, t, lr: 2.0 if float("%f" % s["m"].item()) > STEEP else 1.0)),  # noqa: UP031
    "item_in_array": hostile(times(lambda self, p, s, t, lr: 1 + (array.array("d", [s["m"].item()])[0] > STEEP))),
    "sum_of_math": hostile(times(lambda self, p, s, t, lr: 2.0 if math.fsum([s["m"].item()]) > STEEP else 1.0)),
    "packed_item": hostile(times(lambda self, p, s, t, lr: 2.0 if struct.pack(">d", s["m"].item())[1] > 0x18 else 1.0)),
    # exceptions
    "catches": hostile(times(_catches)),
    "too_large": hostile(times(_too_large)),
    "no_root": hostile(times(_no_root)),
    # decisions on tensors
    "equal_tensors": hostile(times(lambda self, p, s, t, lr: 1 + torch.equal(s["m"].clamp(max=STEEP), s["m"]))),
    "truth_of_number": hostile(times(lambda self, p, s, t, lr: 2.0 if s["m"].clamp(min=STEEP) - STEEP else 1.0)),
    "any_steep": hostile(times(lambda self, p, s, t, lr: 2.0 if (s["m"] > STEEP).any() else 1.0)),
    "truth_of_item": hostile(times(lambda self, p, s, t, lr: 1 + (s["m"] > STEEP).item())),
    "all_close": hostile(times(lambda self, p, s, t, lr: 2.0 if torch.allclose(s["m"], p.grad, 2.0) else 1.0)),
    # what is kept: dtypes, integers, aliases, views
    "late_alias": hostile(_late_alias),
    "byte": hostile(_byte),
    "generator": hostile(_generator),
    "float_counter": hostile(_float_counter),
    "views": hostile(_views),
    "wide_state": hostile(_wide_state),
    "half_state": hostile(_half_state),
    # kernels: NaN, signs of zero, branches, and arguments that change
    "steep_mask": hostile(_steep_mask),
    "ratio": hostile(_ratio),
    "zero_signed": hostile(_zero_signed),
    "both_branches": hostile(_both_branches),
    "quotients": hostile(_quotients),
    "changing_power": hostile(times(lambda self, p, s, t, lr: (s["m"].abs() ** (t % 4 - 1)).clamp(max=9).item())),
    "changing_norm": hostile(times(lambda self, p, s, t, lr: s["m"].norm(p=1 + t % 3).item())),
    # what lies outside
    "imports_inside": hostile(times(_imports_inside)),
    "calendar": hostile(times(lambda self, p, s, t, lr: 0.5 if datetime.now().year < 2000 else 1.0)),
    "default_dtype": hostile(times(lambda self, p, s, t, lr: torch.ones(1).div(3).double().item())),
}

for _name, _class in HOSTILE.items():
    _class.__name__ = _class.__qualname__ = _name
    globals()[_name] = _class
