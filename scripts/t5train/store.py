"""A training's state on disk: written beside and renamed, so that a whole one is always there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

FILE = "state.pt"


def save(directory: Path, state: dict[str, Any]) -> None:
    """Replaces the state."""
    beside = directory / f"{FILE}.new"
    torch.save(state, beside)
    beside.replace(directory / FILE)


def load(directory: Path) -> dict[str, Any] | None:
    """The state that was saved last; None when there is none."""
    path = directory / FILE
    if not path.is_file():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise TypeError(f"{path} is no training state")
    return state
