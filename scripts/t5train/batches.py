"""Batches of examples of like length, as padded tensors."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from t5train.mixture import Example
from t5train.vocabulary import PAD

POOL = 64  # batches that are drawn and sorted at once
NEAR = 3  # tokens by which targets in a batch may differ; sources are sorted within


class Batch(NamedTuple):
    """Ids (rows, columns), padded; decoder_input is the target one step to the right."""

    source: torch.Tensor
    mask: torch.Tensor
    decoder_input: torch.Tensor
    target: torch.Tensor


def pad(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Rows of ids as one tensor."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])


def collate(examples: Sequence[Example]) -> Batch:
    """One batch of all examples."""
    source, target = (pad(side) for side in zip(*examples, strict=True))
    start = torch.full((len(examples), 1), PAD)
    return Batch(source, (source != PAD).long(), torch.cat([start, target[:, :-1]], 1), target)


def stream(draw: Callable[[], Example], size: int, rng: random.Random) -> Iterator[Batch]:
    """Batches without end: pools are drawn, sorted by length, cut, and shuffled."""
    while True:
        pool = [draw() for _ in range(size * POOL)]
        pool.sort(key=lambda example: (len(example.target) // NEAR, len(example.source)))
        parts = [pool[start : start + size] for start in range(0, len(pool), size)]
        rng.shuffle(parts)
        yield from map(collate, parts)


def cut(examples: Sequence[Example], size: int) -> list[Batch]:
    """All examples once, in batches of like length."""
    ordered = sorted(examples, key=lambda example: len(example.source))
    return [collate(ordered[start : start + size]) for start in range(0, len(ordered), size)]
