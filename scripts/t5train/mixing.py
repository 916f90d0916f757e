"""Weighted means of checkpoints."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from t5gguf.checkpoint import Checkpoint
from t5gguf.weights import F32

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


def mix(parts: Sequence[Part]) -> dict[str, F32]:
    """Returns the weighted mean of the weights by name.

    Raises:
        ValueError: The shares don't add up to 1, or the checkpoints can't be read or have other
            tensors.
    """
    if not math.isclose(sum(part.share for part in parts), 1.0, abs_tol=1e-6):
        raise ValueError("the shares do not add up to 1")
    checkpoints = [Checkpoint.open(part.directory) for part in parts]
    shapes = [{t.name: t.shape for t in one.tensors.values()} for one in checkpoints]
    for part, shape in zip(parts, shapes, strict=True):
        if shape != shapes[0]:
            raise ValueError(f"{part.directory} has other tensors than {parts[0].directory}")
    mean: dict[str, F32] = {name: np.zeros(shape, np.float32) for name, shape in shapes[0].items()}
    for part, checkpoint in zip(parts, checkpoints, strict=True):
        for name in mean:
            mean[name] += np.float32(part.share) * checkpoint.tensors[name].load()
    return mean


def copy_other_files(source: Path, target: Path) -> None:
    """Copies a checkpoint's files, but not its weights."""
    weight_files = Checkpoint.open(source).weight_files
    for path in source.iterdir():
        if path.is_file() and path not in weight_files:
            shutil.copyfile(path, target / path.name)
