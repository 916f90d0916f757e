"""The average of a model's weights over its last steps, which errs less than any of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch


class Average:
    """An exponential average; young ones forget faster, so that the start does not linger."""

    def __init__(self, model: torch.nn.Module, decay: float = 0.998) -> None:
        self._decay, self._count = decay, 0
        self._weights = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """Moves towards the model's weights."""
        self._count += 1
        decay = min(self._decay, (1 + self._count) / (10 + self._count))
        for name, value in model.named_parameters():
            self._weights[name].lerp_(value, 1 - decay)

    def weights(self) -> dict[str, torch.Tensor]:
        """The average of each parameter, by name; what is tied comes once."""
        return self._weights

    def state(self) -> dict[str, object]:
        """What `restore` takes."""
        return {"count": self._count, "weights": self._weights}

    def restore(self, state: dict[str, object]) -> None:
        """Goes on where another average was."""
        count, weights = state["count"], state["weights"]
        if not isinstance(count, int) or not isinstance(weights, dict):
            raise TypeError("not the state of an average")
        self._count, self._weights = count, {name: weights[name] for name in self._weights}


@contextmanager
def holding(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """A with-block in which a model has other weights than its own."""
    own = {name: value.detach().clone() for name, value in model.named_parameters()}
    put(model, weights)
    try:
        yield
    finally:
        put(model, own)


@torch.no_grad()
def put(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Copies weights into a model's parameters."""
    for name, value in model.named_parameters():
        value.copy_(weights[name])
