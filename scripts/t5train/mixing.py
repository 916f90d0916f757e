"""Weighted means of checkpoints."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file

WEIGHTS = "model.safetensors"


class Part(NamedTuple):
    """A checkpoint's directory, and its share of the mean, 0 to 1."""

    directory: Path
    share: float


def parse_part(text: str) -> Part:
    """Returns a part of `CHECKPOINT=SHARE`.

    Raises:
        ValueError: The text has another form.
    """
    directory, _, share = text.rpartition("=")
    try:
        return Part(Path(directory), float(share))
    except ValueError as error:
        raise ValueError(f"{text!r} is not CHECKPOINT=SHARE") from error


def mix(parts: Sequence[Part]) -> dict[str, torch.Tensor]:
    """Returns the weighted mean of the weights, F32, by name.

    Raises:
        ValueError: The shares don't add up to 1, or the checkpoints have other tensors.
    """
    if not math.isclose(sum(part.share for part in parts), 1.0, abs_tol=1e-6):
        raise ValueError("the shares do not add up to 1")
    shapes: dict[str, torch.Size] | None = None
    mean: dict[str, torch.Tensor] = {}
    for directory, share in parts:
        weights = load_file(directory / WEIGHTS)
        own = {name: weight.shape for name, weight in weights.items()}
        if shapes not in (None, own):
            raise ValueError(f"{directory} has other tensors than {parts[0].directory}")
        shapes = own
        for name, weight in weights.items():
            scaled = share * weight.float()
            mean[name] = mean[name] + scaled if name in mean else scaled
    return mean


def copy_other_files(source: Path, target: Path) -> None:
    """Copies a checkpoint's files, but not its weights."""
    for path in source.iterdir():
        if path.is_file() and path.name != WEIGHTS:
            shutil.copyfile(path, target / path.name)
