"""The average of a model's weights over its last steps, which generalises better than any step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch


class Average:
    """An exponential average. A new average decays faster, so that the start does not linger."""

    def __init__(self, model: torch.nn.Module, decay: float = 0.998) -> None:
        self._decay, self._count = decay, 0
        self._weights = _copy_weights(model)

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """Moves the average towards the model's weights."""
        self._count += 1
        decay = min(self._decay, (1 + self._count) / (10 + self._count))
        for name, value in model.named_parameters():
            self._weights[name].lerp_(value, 1 - decay)

    def weights(self) -> dict[str, torch.Tensor]:
        """Returns the average of each parameter by name, tied parameters once."""
        return self._weights

    def state(self) -> dict[str, object]:
        """Returns the state that `restore` takes."""
        return {"count": self._count, "weights": self._weights}

    def restore(self, state: dict[str, object]) -> None:
        """Continues from the state of another average.

        Raises:
            TypeError: The state is not of an average.
        """
        count, weights = state["count"], state["weights"]
        if not isinstance(count, int) or not isinstance(weights, dict):
            raise TypeError("not the state of an average")
        self._count = count
        self._weights = {
            name: weights[name].to(weight.device) for name, weight in self._weights.items()
        }


@contextmanager
def replaced_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Replaces a model's weights within a with-block."""
    original = _copy_weights(model)
    load_weights(model, weights)
    try:
        yield
    finally:
        load_weights(model, original)


@torch.no_grad()
def load_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Copies weights into a model's parameters."""
    for name, value in model.named_parameters():
        value.copy_(weights[name])


def _copy_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}
