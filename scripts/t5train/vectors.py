"""Word vectors as a start for the embedding: like words begin near each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from t5train.vocabulary import Vocabulary

SPACE = "▁"


def read(path: Path) -> dict[str, np.ndarray]:
    """A text file in GloVe's format: a word and its numbers a line."""
    vectors = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            word, *values = line.rstrip("\n").split(" ")
            vectors[word] = np.array(values, dtype=np.float32)
    return vectors


@torch.no_grad()
def start(
    embedding: torch.Tensor, vocabulary: Vocabulary, vectors: dict[str, np.ndarray], share: float
) -> int:
    """Mixes vectors into a random embedding (ids, d_model); returns how many pieces had one.

    A piece is looked up as it is, then without ▁, then in lower case. The vectors are projected
    on their principal components and scaled so that the mixture keeps the embedding's variance.

    Args:
        embedding: changed in place.
        vocabulary: names the rows.
        vectors: by word, all of one length, d_model or more.
        share: of the variance that comes from the vectors.
    """
    found: dict[int, np.ndarray] = {}
    for index in range(len(vocabulary)):
        piece = vocabulary.piece(index)
        bare = piece.removeprefix(SPACE)
        for name in (piece, bare, bare.lower()):
            if name in vectors:
                found[index] = vectors[name]
                break
    rows = np.stack(list(found.values()))
    rows -= rows.mean(0)
    _, _, axes = np.linalg.svd(rows, full_matrices=False)
    rows = rows @ axes[: embedding.shape[1]].T
    rows /= np.sqrt(rows.std(0)) + 1e-9  # or a few components would be all there is
    rows /= np.sqrt((rows**2).mean(1, keepdims=True)) + 1e-9
    scale = float(embedding.std())
    places = torch.tensor(list(found))
    mixed = embedding[places] * (1 - share) ** 0.5
    embedding[places] = mixed + torch.from_numpy(rows).to(embedding) * scale * share**0.5
    return len(found)
