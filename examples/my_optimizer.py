"""An optimizer of one's own, and the commands that test it.

Run them in this directory, where Python finds the module `my_optimizer`:

    amsgrad-exp run --optimizer my_optimizer.MyAdam --steps 1e5
    amsgrad-exp identify --optimizer my_optimizer.MyAdam
    amsgrad-exp attack --optimizer my_optimizer.MyAdam
    amsgrad-exp gauntlet --optimizer my_optimizer.MyAdam --steps 1e5

`run` runs the paper's experiment. `identify` names the closest published rule, and where the class departs from it.
`attack` searches for a small problem on which it fails. `gauntlet` runs it on all problems.
"""

from collections.abc import Iterable
from typing import Any

import torch


class MyAdam(torch.optim.Optimizer):
    """Adam as many people write it from memory: ε stands under the root, √(v̂ + ε), where the paper has √v̂ + ε."""

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = closure() if closure else None
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                if not state:
                    state.update(step=0, m=torch.zeros_like(param), v=torch.zeros_like(param))
                state["step"] += 1
                state["m"].mul_(beta1).add_(param.grad, alpha=1 - beta1)
                state["v"].mul_(beta2).addcmul_(param.grad, param.grad, value=1 - beta2)
                m_hat = state["m"] / (1 - beta1 ** state["step"])
                v_hat = state["v"] / (1 - beta2 ** state["step"])
                param.sub_(group["lr"] * m_hat / (v_hat + group["eps"]).sqrt())
        return loss
