"""Whether a GGUF file's head is its embedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGUFReader, ReaderTensor
from gguf.quants import dequantize

SAMPLE = 64
SIMILAR = 0.98  # cosine of the same rows in two quantisations; different rows are near 0


def head_is_tied(path: Path) -> bool:
    """True without `output.weight`, or when its rows match those of `token_embd.weight`.

    llama.cpp's converter keeps a tied `lm_head` that a checkpoint has, and its quantiser gives
    the two copies different types; so sampled rows are compared by direction, not by value.
    """
    tensors = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    head, embedding = tensors.get("output.weight"), tensors.get("token_embd.weight")
    if head is None or embedding is None:
        return True
    if len(head.data) != len(embedding.data):
        return False
    rows = np.linspace(0, len(head.data) - 1, SAMPLE).astype(np.intp)
    a, b = _rows(head, rows), _rows(embedding, rows)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(axis=1)[norms > 0] / norms[norms > 0]
    return bool(np.median(cosines) > SIMILAR)


def _rows(tensor: ReaderTensor, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    return dequantize(np.ascontiguousarray(tensor.data[rows]), tensor.tensor_type)
