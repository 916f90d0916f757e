"""Detects whether a GGUF file's head is tied to its embedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from t5engine.reader import GGUFFile

SAMPLED_ROWS = 64
MIN_COSINE = 0.98  # of the same rows in two quantisations; different rows are near 0


def head_is_tied(path: Path) -> bool:
    """Whether `output.weight` is missing, or its rows match those of `token_embd.weight`.

    llama.cpp's converter keeps a tied `lm_head` that a checkpoint has, and its quantiser gives
    the two copies different types. So sampled rows are compared by direction, not by value.

    Raises:
        ReadError: the file is not GGUF.
    """
    tensors = GGUFFile.open(path).tensors
    head, embedding = tensors.get("output.weight"), tensors.get("token_embd.weight")
    if head is None or embedding is None:
        return True
    if head.shape != embedding.shape:
        return False
    rows = np.linspace(0, head.shape[0] - 1, SAMPLED_ROWS).astype(np.intp)
    a, b = head.read_rows(rows), embedding.read_rows(rows)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(axis=1)[norms > 0] / norms[norms > 0]
    return bool(np.median(cosines) > MIN_COSINE)
