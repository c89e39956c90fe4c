"""The experiment of Reddi, Kale and Kumar (ICLR 2018, arXiv 1904.09237, Section 5) as a plain PyTorch loop.

    python examples/reference.py adam 20000
    python examples/reference.py amsgrad 20000

Each step shows the optimizer one linear loss f_t(x) = s_t·x, where s_t is 1010 once every 101 steps and −10 otherwise.
The 100 small gradients add up to −1000, so the large one wins: the mean gradient is positive, and the best point of
[−1, 1] is x* = −1. Adam still walks to +1, because it divides the large gradient by its own size. AMSGrad does not.
`amsgrad-exp run` computes the same numbers, some twenty thousand times faster per step (`make bench`).
"""

import sys
from collections.abc import Iterator

import torch

OPTIMUM = -1.0


def experiment(*, amsgrad: bool, steps: int, dtype: torch.dtype = torch.float32) -> Iterator[tuple[float, float]]:
    """Yield (x_t, R(t + 1)/(t + 1)) for each step t: the iterate that meets loss f_t, and the average regret so far."""
    x = torch.nn.Parameter(torch.tensor([0.0], dtype=dtype))
    optimizer = torch.optim.Adam([x], lr=0.01, betas=(0.9, 0.99), eps=1e-16, amsgrad=amsgrad)
    optimum = torch.tensor([OPTIMUM], dtype=dtype)
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
    name, number = sys.argv[1:] or ("adam", "20000")
    number_of_steps = int(number)
    for t, (x_t, regret) in enumerate(experiment(amsgrad=name == "amsgrad", steps=number_of_steps), start=1):
        if t % (number_of_steps // 10) == 0:
            print(f"t = {t:9,}   x = {x_t:+.4f}   R(t)/t = {regret:.4f}")
