"""Provides the optimizers as `torch.optim.Optimizer` classes, for any PyTorch program.

Every optimizer of the registry is here under its title: ``from amsgrad_exp.optimizers import ADOPT``. Adam and AMSGrad
are written by hand. Of the others, torch.optim's own classes are used if it has them; the rest are made from rules.
"""

from __future__ import annotations

import pkgutil
import sys

from amsgrad_exp.optimizers import adaptive
from amsgrad_exp.optimizers.adaptive import AdaptiveOptimizer, WeightDecay
from amsgrad_exp.optimizers.from_rule import RuleOptimizer
from amsgrad_exp.optimizers.handwritten import Adam, AMSGrad
from amsgrad_exp.rules import OPTIMIZERS

__all__ = ["AMSGrad", "Adam", "AdaptiveOptimizer", "RuleOptimizer", "WeightDecay"]

# Pickles of versions 0.1.0 and 0.2.0 look for WeightDecay under this module name.
sys.modules[f"{__name__}.base"] = adaptive

_ARGUMENTS = (RuleOptimizer.__doc__ or "").partition("\n\n")[2]

for _optimizer in OPTIMIZERS.values():
    if _optimizer.torch is None:
        globals()[_optimizer.title] = type(
            _optimizer.title,
            (RuleOptimizer,),
            {
                "optimizer": _optimizer,
                "__module__": __name__,
                "__doc__": f"{_optimizer.title} ({_optimizer.source}).\n\n{_ARGUMENTS}",
            },
        )
    else:
        globals().setdefault(_optimizer.title, pkgutil.resolve_name(_optimizer.torch))
