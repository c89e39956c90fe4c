"""Optimizers as `torch.optim.Optimizer` classes, usable in any PyTorch program."""

from amsgrad_exp.optimizers.adam import Adam
from amsgrad_exp.optimizers.amsgrad import AMSGrad
from amsgrad_exp.optimizers.base import AdaptiveOptimizer, WeightDecay

__all__ = ["AMSGrad", "Adam", "AdaptiveOptimizer", "WeightDecay"]
