"""Typed queries: what typos cost a search, and how much of it a correction wins back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from itertools import chain

from t5serve.reformulation.text import plain_words
from t5train import noise

TYPOS = 2  # per query


def add_typos(queries: Iterable[str], seed: int) -> list[str]:
    """Returns each query with two typos, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    return [noise.add_typos(query, rng, count=TYPOS) for query in queries]


def count_words(documents: Iterable[str]) -> Counter[str]:
    """Counts the words of documents: the lexicon of a collection."""
    return Counter(chain.from_iterable(map(plain_words, documents)))


def recovered(clean: float, typed: float, fixed: float) -> float | None:
    """Returns the share of a loss that is recovered; None if nothing was lost."""
    return (fixed - typed) / (clean - typed) if clean > typed else None
