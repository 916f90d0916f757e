"""The state of a training on disk: tensors and, in the file's header, everything else as JSON.

The file is written under another name and renamed, so that a complete state always exists, also
after kill -9. state.json repeats the plain values for people.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

FILE = "state.safetensors"
SUMMARY = "state.json"
HEADER = "state"
TENSOR = "tensor"  # the only key of an object that stands for a tensor


def save(directory: Path, state: dict[str, Any]) -> None:
    """Replaces the saved state, a tree of dicts with tensors and plain values."""
    tensors: dict[str, torch.Tensor] = {}
    plain = _take_tensors(state, "", tensors)
    temporary = directory / f"{FILE}.new"
    save_file(tensors, temporary, {HEADER: json.dumps(plain)})
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(directory / FILE)
    summary = {name: value for name, value in state.items() if isinstance(value, (int, float, str))}
    (directory / SUMMARY).write_text(json.dumps(summary) + "\n", encoding="utf-8")


def load(directory: Path) -> dict[str, Any] | None:
    """Returns the state that was saved last; None if no state was saved.

    Raises:
        ValueError: The file has no training state.
    """
    path = directory / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            plain = json.loads((file.metadata() or {})[HEADER])
            state: dict[str, Any] = _put_tensors(plain, file.get_tensor)
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no training state: {error}") from error
    return state


def _take_tensors(tree: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:  # noqa: ANN401
    if isinstance(tree, torch.Tensor):
        tensors[name] = tree.detach().contiguous()
        return {TENSOR: name}
    if isinstance(tree, dict):
        return {key: _take_tensors(tree[key], f"{name}/{key}", tensors) for key in tree}
    return tree


def _put_tensors(tree: Any, get: Any) -> Any:  # noqa: ANN401 - any tree; safe_open has no types
    if not isinstance(tree, dict):
        return tree
    if tree.keys() == {TENSOR}:
        return get(tree[TENSOR])
    return {key: _put_tensors(value, get) for key, value in tree.items()}
