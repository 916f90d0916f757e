"""Adam whose steps are scaled by each tensor's size, as Adafactor's are.

T5 starts with an embedding of standard deviation 1 and projections of 0.02: one learning rate for
both is too large for these or too small for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

SMALLEST = 1e-3  # the scale of a tensor that is all but zero, as in Adafactor


class ScaledAdam(torch.optim.Optimizer):
    """A step moves a tensor by about `lr` times its own root mean square."""

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        lr: float = 2e-2,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step for every tensor with a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for tensor in group["params"]:
                if tensor.grad is not None:
                    self._update(tensor, self.state[tensor], group)
        return loss

    def _update(
        self, tensor: torch.nn.Parameter, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        if not state:
            state["step"] = 0
            state["mean"] = torch.zeros_like(tensor)
            state["square"] = torch.zeros_like(tensor)
        state["step"] += 1
        first, second = group["betas"]
        state["mean"].lerp_(tensor.grad, 1 - first)
        state["square"].mul_(second).addcmul_(tensor.grad, tensor.grad, value=1 - second)
        scale = max(float(tensor.norm()) / tensor.numel() ** 0.5, SMALLEST)
        size = group["lr"] * scale / (1 - first ** state["step"])
        spread = (state["square"] / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
        tensor.addcdiv_(state["mean"], spread, value=-size)
