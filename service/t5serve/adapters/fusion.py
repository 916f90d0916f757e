"""Joins the rankings of a query and its reformulations to one ranking."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

Document = TypeVar("Document")

RANK_CONSTANT = 60
WEIGHT = 0.3
"""Of a reformulation, where the query has 1: it lost on none of the collections of
docs/quality.md."""


def fuse(
    rankings: Sequence[Sequence[Document]],
    key: Callable[[Document], Hashable],
    weight: float = WEIGHT,
) -> list[Document]:
    """Returns the documents of all rankings, best first: weighted reciprocal rank fusion.

    A document's score is the sum of w / (60 + rank) over the rankings that have it.

    Args:
        rankings: of the query itself first, then of its reformulations.
        key: tells a document from another one.
        weight: of each reformulation's ranking, where the query's has 1.
    """
    scores: dict[Hashable, float] = defaultdict(float)
    documents: dict[Hashable, Document] = {}
    for index, ranking in enumerate(rankings):
        for rank, document in enumerate(ranking, 1):
            name = key(document)
            documents.setdefault(name, document)
            scores[name] += (weight if index else 1.0) / (RANK_CONSTANT + rank)
    return [documents[name] for name in sorted(scores, key=lambda name: -scores[name])]


def search_queries(query: str, reformulations: Sequence[str]) -> list[str]:
    """Returns the query, then its reformulations without the query itself."""
    return [query, *(text for text in reformulations if text != query)]
