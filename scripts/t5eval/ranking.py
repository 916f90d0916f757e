"""How good a ranking of documents is, and one ranking made of several."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

K = 60  # Cormack, Clarke and Buettcher 2009

Document = TypeVar("Document", bound=Hashable)


def fused(rankings: Sequence[Sequence[Document]], k: int = K) -> list[Document]:
    """By reciprocal rank: a document's score is the sum of 1 / (k + rank), ranks from 1.

    Of two with one score, the one that the first rankings have first.
    """
    parts: dict[Document, list[float]] = {}
    for ranking in rankings:
        for rank, document in enumerate(ranking, 1):
            parts.setdefault(document, []).append(1 / (k + rank))
    # fsum: the same parts in another order are the same score
    return sorted(parts, key=lambda document: -math.fsum(parts[document]))


def ndcg(ranking: Sequence[Document], relevant: AbstractSet[Document], depth: int) -> float:
    """Normalised discounted cumulative gain of yes-or-no relevance, 0 to 1."""
    gain = sum(
        1 / math.log2(rank + 1)
        for rank, document in enumerate(ranking[:depth], 1)
        if document in relevant
    )
    return gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(depth, len(relevant)) + 1))


def recall(ranking: Sequence[Document], relevant: AbstractSet[Document], depth: int) -> float:
    """The share of the relevant documents that are among the first."""
    return len(relevant & set(ranking[:depth])) / len(relevant)


def reciprocal_rank(ranking: Sequence[Document], relevant: AbstractSet[Document]) -> float:
    """One over the rank of the first relevant document; 0 without one."""
    ranks = (rank for rank, document in enumerate(ranking, 1) if document in relevant)
    return 1 / next(ranks, math.inf)
