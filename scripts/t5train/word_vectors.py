"""Initialises an embedding from word vectors, so that similar words start close together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from t5train.teacher import Teacher
from t5train.vocabulary import Vocabulary

SPACE = "▁"
SPECIAL = re.compile(r"<.+>")  # also the bytes: <0x41>
MOST_TOKENS = 2  # of a piece: the mean of more says little about it


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads a text file in GloVe's format: a word and its vector per line."""
    vectors = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            word, *values = line.rstrip("\n").split(" ")
            vectors[word] = np.array(values, dtype=np.float32)
    return vectors


def write(path: Path, vectors: Iterable[tuple[str, np.ndarray]]) -> int:
    """Writes a text file in GloVe's format; returns the number of words."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for word, vector in vectors:
            file.write(f"{word} {' '.join(f'{value:.5g}' for value in vector)}\n")
            count += 1
    return count


def of_teacher(teacher: Teacher, vocabulary: Vocabulary) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the pieces that are one or two tokens of a teacher, with their mean embedding."""
    embedding = teacher.model.get_input_embeddings().weight.detach().float().cpu().numpy()
    for index in range(len(vocabulary)):
        piece = vocabulary.piece(index)
        tokens = teacher.tokens(piece.replace(SPACE, " "))
        if not SPECIAL.fullmatch(piece) and 0 < len(tokens) <= MOST_TOKENS:
            yield piece, embedding[tokens].mean(0)


@torch.no_grad()
def initialise_embedding(
    embedding: torch.Tensor, vocabulary: Vocabulary, vectors: dict[str, np.ndarray], share: float
) -> int:
    """Mixes vectors into a random embedding, (ids, d_model); returns the number of mixed pieces.

    A piece is looked up unchanged, then without ▁, then in lower case. The vectors are projected
    on their principal components and scaled so that the mixture keeps the embedding's variance.

    Args:
        embedding: The embedding, changed in place.
        vocabulary: Names the rows.
        vectors: Vectors by word, all of one length, which is d_model or more.
        share: The share of the variance that comes from the vectors.
    """
    by_id: dict[int, np.ndarray] = {}
    for index in range(len(vocabulary)):
        piece = vocabulary.piece(index)
        bare = piece.removeprefix(SPACE)
        for name in (piece, bare, bare.lower()):
            if name in vectors:
                by_id[index] = vectors[name]
                break
    rows = np.stack(list(by_id.values()))
    rows -= rows.mean(0)
    _, _, axes = np.linalg.svd(rows, full_matrices=False)
    rows = rows @ axes[: embedding.shape[1]].T
    rows /= np.sqrt(rows.std(0)) + 1e-9  # or a few components would dominate
    rows /= np.sqrt((rows**2).mean(1, keepdims=True)) + 1e-9
    scale = float(embedding.std())
    ids = torch.tensor(list(by_id))
    random_part = embedding[ids] * (1 - share) ** 0.5
    embedding[ids] = random_part + torch.from_numpy(rows).to(embedding) * scale * share**0.5
    return len(by_id)
