"""Optimizers as `torch.optim.Optimizer` classes, usable in any PyTorch program.

Adam and AMSGrad are written out; every other optimizer of the registry is here under its title, as torch.optim's class
where it has one, or else as one made of its rule: ``from amsgrad_exp.optimizers import ADOPT``.
"""

from __future__ import annotations

import pkgutil

from amsgrad_exp.optimizers.adam import Adam
from amsgrad_exp.optimizers.amsgrad import AMSGrad
from amsgrad_exp.optimizers.base import AdaptiveOptimizer, WeightDecay
from amsgrad_exp.optimizers.from_rule import RuleOptimizer
from amsgrad_exp.rules import OPTIMIZERS

__all__ = ["AMSGrad", "Adam", "AdaptiveOptimizer", "RuleOptimizer", "WeightDecay"]

for _optimizer in OPTIMIZERS.values():
    if _optimizer.torch is None:
        globals()[_optimizer.title] = type(
            _optimizer.title,
            (RuleOptimizer,),
            {"optimizer": _optimizer, "__module__": __name__, "__doc__": f"{_optimizer.title} ({_optimizer.source})."},
        )
    else:
        globals().setdefault(_optimizer.title, pkgutil.resolve_name(_optimizer.torch))
