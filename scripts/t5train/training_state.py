"""The state of a training on disk.

The file is written under another name and renamed, so that a complete state always exists.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

FILE = "state.pt"


def save(directory: Path, state: dict[str, Any]) -> None:
    """Replaces the saved state."""
    temporary = directory / f"{FILE}.new"
    torch.save(state, temporary)
    temporary.replace(directory / FILE)


def load(directory: Path) -> dict[str, Any] | None:
    """Returns the state that was saved last; None if no state was saved.

    Raises:
        TypeError: The file has no training state.
    """
    path = directory / FILE
    if not path.is_file():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise TypeError(f"{path} is no training state")
    return state
