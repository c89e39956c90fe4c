"""The experiment of Reddi, Kale and Kumar (ICLR 2018, arXiv 1904.09237, Section 5) as a plain PyTorch loop.

Each step shows the optimizer one linear loss f_t(x) = s_t·x, where s_t is 1010 once every 101 steps and −10 otherwise.
The 100 small gradients add up to −1000, so the large one wins: the mean gradient is positive, and the best point of
[−1, 1] is x* = −1. Adam still walks to +1, because it divides the large gradient by about its own size, so that it
counts no more than a small one. AMSGrad does not. `amsgrad-exp run` computes the same numbers 20,000 times faster.
"""

import argparse
from collections.abc import Iterator

import torch


def experiment(*, amsgrad: bool, steps: int, dtype: torch.dtype = torch.float32) -> Iterator[tuple[float, float]]:
    """Yield (x_t, R(t + 1)/(t + 1)) for each step t: the iterate that meets loss f_t, and the average regret so far."""
    x, optimum = torch.nn.Parameter(torch.tensor([0.0], dtype=dtype)), torch.tensor([-1.0], dtype=dtype)
    optimizer = torch.optim.Adam([x], lr=0.01, betas=(0.9, 0.99), eps=1e-16, amsgrad=amsgrad)
    total_regret = 0.0
    for t in range(steps):
        slope = 1010 if t % 101 == 1 else -10
        loss = slope * x
        total_regret += (loss - slope * optimum).item()
        yield x.item(), total_regret / (t + 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            x.clamp_(-1.0, 1.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("optimizer", choices=["adam", "amsgrad"], nargs="?", default="adam")
    parser.add_argument("steps", type=int, nargs="?", default=20_000)
    given = parser.parse_args()
    for t, (x_t, regret) in enumerate(experiment(amsgrad=given.optimizer == "amsgrad", steps=given.steps), start=1):
        if t % max(1, given.steps // 10) == 0:
            print(f"t = {t:9,}   x = {x_t:+.4f}   R(t)/t = {regret:.4f}")
