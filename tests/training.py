"""Parameters, and steps of optimizers on gradients drawn from a seed."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def train(optimizer: torch.optim.Optimizer, params: list[nn.Parameter], seed: int, steps: int = 12) -> list[Tensor]:
    """Take steps on gradients drawn from a seed; some parameters get none now and then."""
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
