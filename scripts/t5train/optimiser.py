"""Adam with steps scaled by each tensor's root mean square, like Adafactor's.

T5 starts with an embedding of standard deviation 1 and projections of 0.02. One learning rate for
both is too large for the projections or too small for the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

MIN_SCALE = 1e-3  # the scale of a tensor close to zero, as in Adafactor


class ScaledAdam(torch.optim.Optimizer):
    """Adam whose step moves a tensor by about `lr` x the tensor's root mean square."""

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
        """Makes a step for every tensor with a gradient."""
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
        beta1, beta2 = group["betas"]
        state["mean"].lerp_(tensor.grad, 1 - beta1)
        state["square"].mul_(beta2).addcmul_(tensor.grad, tensor.grad, value=1 - beta2)
        scale = max(float(tensor.norm()) / tensor.numel() ** 0.5, MIN_SCALE)
        step_size = group["lr"] * scale / (1 - beta1 ** state["step"])
        deviation = (state["square"] / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
        tensor.addcdiv_(state["mean"], deviation, value=-step_size)
