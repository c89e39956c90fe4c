"""Write docs/optimizers.md, which describes the optimizer classes: ``make optimizers``."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path
from typing import Any, get_args

import torch

from amsgrad_exp import optimizers
from amsgrad_exp.optimizers import AdaptiveOptimizer
from amsgrad_exp.rules import OPTIMIZERS, Optimizer

SETTINGS = ("lr", "betas", "beta1", "eps")
DOCUMENT = Path(__file__).with_suffix(".md")

INTRODUCTION = """\
# The optimizer classes

`amsgrad_exp.optimizers` has a `torch.optim.Optimizer` class for every optimizer of `amsgrad-exp list optimizers`. They
work in any PyTorch program. This page is written by `make optimizers`, from the classes themselves.

Every class of this package takes these arguments, for all parameters or for one parameter group. Some names, such as
`AdamW`, are torch.optim's own classes, which have their own arguments.

| argument | default | meaning |
|---|---|---|
| `params` | | parameters, named parameters or parameter groups |
| `lr` | see below | step size α, a number or a tensor with one element |
| `weight_decay` | `0.0` | λ of an L2 penalty, which adds λθ to the gradient; or a `WeightDecay` |
| `decoupled_weight_decay` | `False` | shrink the parameter by α·λ·θ instead, as AdamW does |
| `foreach` | `None` | update many parameters in one call of torch's foreach functions, to the same bits on a CPU |
| `maximize` | `False` | maximize the objective |

- **foreach.** With `None`, foreach functions are used where torch.optim would use them (parameters on an accelerator),
  and also for small parameters on a CPU: 2,048 elements or fewer on average.
- **WeightDecay.** `weight_decay=WeightDecay(0.01)` is short for `weight_decay=0.01, decoupled_weight_decay=True`.
  `WeightDecay(0.01, absolute=True)` shrinks the parameter by λ·θ whatever α is; the group's `absolute_weight_decay`
  is then true.
- **State.** A parameter's state and its group hold tensors, numbers, strings and flags, so plain `torch.load` reads a
  checkpoint where this package is not installed. `load_state_dict` also takes what versions 0.1.0 and 0.2.0 saved. If
  a state does not fit, it raises a `ValueError` and changes nothing.
- **torch.optim.** `Adam` and `AMSGrad` exchange states with torch.optim's `Adam` and `AdamW`, `NAdam` with its `NAdam`.
  A group from torch.optim has no `optimized_update`, so it becomes `False`: ε is then added where
  torch.optim adds it. For the same updates in the other direction, create the optimizer with
  `optimized_update=False`.
- **eps** of `Adam` and `AMSGrad` is 1e-16, as in the reference experiment; torch.optim's is 1e-8.
- **Half precision.** Parameters in float16 or bfloat16 are updated in float32, and their state is float32.
- **torch.compile** does not compile `step`, which runs eagerly.
- Sparse gradients and complex parameters are rejected.

In the lists of states, `step` is a tensor with one number, which counts steps. Any other tensor has the parameter's
shape. The other numbers are what the rule keeps from one step to the next, such as powers of β.

```python
from amsgrad_exp import optimizers

optimizer = optimizers.AMSGrad(model.parameters(), lr=1e-3, weight_decay=0.01)
loss.backward()
optimizer.step()
```"""


def document() -> str:
    """The page."""
    return "\n\n".join([INTRODUCTION, *map(section, OPTIMIZERS.values())]) + "\n"


def section(known: Optimizer) -> str:
    """One class: arguments and state."""
    kind: Any = vars(optimizers)[known.title]
    param = torch.nn.Parameter(torch.zeros(2))
    optimizer = kind([param])
    param.grad = torch.ones(2)
    optimizer.step()
    if own := isinstance(optimizer, AdaptiveOptimizer):
        common = inspect.signature(AdaptiveOptimizer).parameters.keys() - {"lr", "betas", "eps"}
        hidden = {*common, "absolute_weight_decay"}
        arguments = {name: value for name, value in optimizer.defaults.items() if name not in hidden}
        arguments = {name: arguments.pop(name) for name in SETTINGS if name in arguments} | arguments
    else:
        parameters = inspect.signature(kind).parameters.values()
        arguments = {each.name: each.default for each in parameters if each.default is not each.empty}
    paragraphs = [f"{known.summary[0].upper()}{known.summary[1:]}. {known.source}."]
    if not own:
        paragraphs[0] += f" This is `{kind.__module__.removesuffix(f'.{known.title.lower()}')}.{known.title}` itself."
    options = inspect.getdoc(known.options) if own and known.options.model_fields else None
    listed = ", ".join(argument(known, name, value) for name, value in arguments.items())
    paragraphs += [f"Arguments: {listed}.{f' {options}' if options else ''}"]
    paragraphs += [f"State: {', '.join(map(shown, optimizer.state[param].items())) or 'none'}."]
    wrapped = (textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) for text in paragraphs)
    return "\n\n".join([f"## {known.title}", *wrapped])


def argument(known: Optimizer, name: str, value: Any) -> str:
    """An argument, its default and, of a choice, what else it may be."""
    field = known.options.model_fields.get(name)
    others = (
        [repr(each) for each in get_args(field.annotation) if each != value]
        if field and value in get_args(field.annotation)
        else []
    )
    return f"`{name}={value!r}`" + (f" (or {' or '.join(f'`{each}`' for each in others)})" if others else "")


def shown(entry: tuple[str, Any]) -> str:
    """A name in the state, and whether it is a number."""
    name, value = entry
    return f"`{name}`" if isinstance(value, torch.Tensor) else f"`{name}` (a number)"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
