"""The package's own optimizer classes, parameters for them, and training steps on gradients drawn from a seed."""

from typing import Any

import torch
from torch import Tensor, nn

from amsgrad_exp import optimizers
from amsgrad_exp.optimizers import AdaptiveOptimizer, RuleOptimizer

# The others are torch.optim's classes under the same names.
OWN_CLASSES: list[Any] = [
    kind
    for kind in vars(optimizers).values()
    if isinstance(kind, type) and issubclass(kind, AdaptiveOptimizer) and kind not in (AdaptiveOptimizer, RuleOptimizer)
]
OWN: dict[str, Any] = {kind.__name__: kind for kind in OWN_CLASSES}


def train(optimizer: torch.optim.Optimizer, params: list[nn.Parameter], seed: int, steps: int = 12) -> list[Tensor]:
    """Take steps on gradients drawn from a seed; every fifth step of a parameter it has no gradient."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for number, param in enumerate(params):
            scale = 10.0 ** torch.randint(-3, 3, (), generator=generator)
            grad = torch.randn(param.shape, generator=generator, dtype=torch.float64) * scale
            param.grad = None if (step + number) % 5 == 4 else grad.to(param.dtype)
        optimizer.step()
    return [param.detach().clone() for param in params]


def make_params(shapes: list[tuple[int, ...]], seed: int = 0, dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in shapes]
