"""Batches of examples of similar length, as padded tensors."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from t5train.mixture import Example
from t5train.vocabulary import PAD

POOL = 64  # batches that are drawn and sorted together
BUCKET = 3  # token lengths of targets in a bucket; sources are sorted within the bucket


class Batch(NamedTuple):
    """Padded ids, (rows, columns). `decoder_input` is `target`, shifted one step to the right."""

    source: torch.Tensor
    mask: torch.Tensor
    decoder_input: torch.Tensor
    target: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """Returns the batch on a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


def pad(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Returns rows of ids as one padded tensor, (rows, columns)."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])


def collate(examples: Sequence[Example]) -> Batch:
    """Returns one batch of all examples."""
    source, target = (pad(side) for side in zip(*examples, strict=True))
    start = torch.full((len(examples), 1), PAD)
    return Batch(source, (source != PAD).long(), torch.cat([start, target[:, :-1]], 1), target)


def stream(draw: Callable[[], Example], size: int, rng: random.Random) -> Iterator[Batch]:
    """Yields batches without end: draws a pool, sorts by length, splits and shuffles."""
    while True:
        pool = [draw() for _ in range(size * POOL)]
        pool.sort(key=lambda example: (len(example.target) // BUCKET, len(example.source)))
        batches = [pool[start : start + size] for start in range(0, len(pool), size)]
        rng.shuffle(batches)
        yield from map(collate, batches)


def split(examples: Sequence[Example], size: int) -> list[Batch]:
    """Returns all examples once, in batches of similar length."""
    ordered = sorted(examples, key=lambda example: len(example.source))
    return [collate(ordered[start : start + size]) for start in range(0, len(ordered), size)]
