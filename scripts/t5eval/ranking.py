"""Metrics of rankings, and reciprocal rank fusion."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

K = 60  # of reciprocal rank fusion (Cormack, Clarke and Buettcher 2009)

Document = TypeVar("Document", bound=Hashable)


def fuse(
    rankings: Sequence[Sequence[Document]], k: int = K, weights: Sequence[float] | None = None
) -> list[Document]:
    """Returns one ranking of several: score = sum of weight / (k + rank), ranks from 1.

    Documents with equal scores keep the order in which the rankings first name them.

    Args:
        rankings: Documents, best first.
        k: A larger number lets lower ranks count more.
        weights: The weight of each ranking; None: 1 each.
    """
    parts: dict[Document, list[float]] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, document in enumerate(ranking, 1):
            parts.setdefault(document, []).append(weight / (k + rank))
    # fsum: the order of the terms must not change the score
    return sorted(parts, key=lambda document: -math.fsum(parts[document]))


def ndcg(ranking: Sequence[Document], relevant: AbstractSet[Document], depth: int) -> float:
    """Returns the normalised discounted cumulative gain of binary relevance, 0 to 1."""
    gain = sum(
        1 / math.log2(rank + 1)
        for rank, document in enumerate(ranking[:depth], 1)
        if document in relevant
    )
    return gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(depth, len(relevant)) + 1))


def recall(ranking: Sequence[Document], relevant: AbstractSet[Document], depth: int) -> float:
    """Returns the share of the relevant documents that are among the first `depth`."""
    return len(relevant & set(ranking[:depth])) / len(relevant)


def reciprocal_rank(ranking: Sequence[Document], relevant: AbstractSet[Document]) -> float:
    """Returns 1 / the rank of the first relevant document; 0 without a relevant document."""
    ranks = (rank for rank, document in enumerate(ranking, 1) if document in relevant)
    return 1 / next(ranks, math.inf)
