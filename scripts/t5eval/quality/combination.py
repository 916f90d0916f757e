"""Combinations of a query and its reformulations for BM25."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from t5eval.collection import Query
from t5eval.quality import feedback
from t5eval.ranking import fuse
from t5eval.retrieval import DEPTH, Index

Combination = Callable[[Index, Query, Sequence[str]], list[int]]
"""Returns the ranking of a query and its reformulations, best first."""


def search_original(index: Index, query: Query, _: Sequence[str]) -> list[int]:
    """Searches with the query as it is."""
    return index.rank(query.text, query.excluded)


def search_first(index: Index, query: Query, texts: Sequence[str]) -> list[int]:
    """Searches with the first reformulation alone."""
    return index.rank(texts[0], query.excluded)


def search_feedback(index: Index, query: Query, _: Sequence[str]) -> list[int]:
    """Searches with the query that RM3 expands."""
    weights = feedback.expand(index, query.text, query.excluded)
    return index.rank_scores(index.score(weights), query.excluded)


def fuse_rankings(index: Index, query: Query, texts: Sequence[str], *, weight: float) -> list[int]:
    """Fuses the rankings of the query, weight 1, and of its reformulations."""
    rankings = [index.rank(text, query.excluded) for text in (query.text, *texts)]
    return fuse(rankings, weights=[1.0, *[weight] * len(texts)])[:DEPTH]


def add_words(index: Index, query: Query, texts: Sequence[str], *, weight: float) -> list[int]:
    """Searches with the query, and at a weight with the words that only reformulations have."""
    weights: dict[str, float] = dict(Counter(index.tokenise(query.text)))
    for text in texts:
        for stem in index.tokenise(text):
            weights.setdefault(stem, weight)
    return index.rank_scores(index.score(weights), query.excluded)


def add_strings(index: Index, query: Query, texts: Sequence[str], *, weight: float) -> list[int]:
    """Searches with the query and, at a weight, with each whole reformulation."""
    weights: Counter[str] = Counter()
    for text, factor in ((query.text, 1.0), *((text, weight) for text in texts)):
        for stem in index.tokenise(text):
            weights[stem] += factor  # type: ignore[assignment]  # a sum of weights
    return index.rank_scores(index.score(weights), query.excluded)


def take_best(
    index: Index, query: Query, texts: Sequence[str], *, boost: float, tie_breaker: float
) -> list[int]:
    """Searches with the best of several queries, as dis_max of Elasticsearch does.

    score = best + tie_breaker x the others' sum, with the query's own score times the boost.
    """
    scores = np.array(
        [
            factor * index.score(Counter(index.tokenise(text)))
            for text, factor in ((query.text, boost), *((text, 1.0) for text in texts))
        ]
    )
    best = scores.max(0)
    return index.rank_scores(best + tie_breaker * (scores.sum(0) - best), query.excluded)


ORIGINAL, ALONE = "original", "the reformulation alone"
FEEDBACK, LONG_LIST = "RM3, no model", "original, index with a long stop list, no model"
BASELINES: dict[str, Combination] = {ORIGINAL: search_original, FEEDBACK: search_feedback}
COMBINATIONS: dict[str, Combination] = {
    "rankings fused, weights 1 : 1": partial(fuse_rankings, weight=1.0),
    "rankings fused, weights 1 : 0.3": partial(fuse_rankings, weight=0.3),
    "rankings fused, weights 1 : 0.1": partial(fuse_rankings, weight=0.1),
    "new words added at 0.05": partial(add_words, weight=0.05),
    "new words added at 0.1": partial(add_words, weight=0.1),
    "new words added at 0.2": partial(add_words, weight=0.2),
    "new words added at 0.4": partial(add_words, weight=0.4),
    "whole strings added at 0.1": partial(add_strings, weight=0.1),
    "whole strings added at 0.3": partial(add_strings, weight=0.3),
    "dis_max, boost 2, tie breaker 0.3": partial(take_best, boost=2.0, tie_breaker=0.3),
}
"""What is searched with the query and several reformulations."""
