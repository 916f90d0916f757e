"""Typed queries: what typos cost a search, and how much of it a correction wins back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

from t5serve.reformulation.text import plain_words
from t5train import noise

TYPOS = 2  # per query
DRAWS = 4  # typed versions of a query: one alone tells little, since few typos cost anything


def add_typos(queries: Sequence[str], seed: int) -> list[str]:
    """Returns all queries with two typos each, `DRAWS` times over; a seed gives the same texts."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    return [noise.add_typos(query, rng, count=TYPOS) for _ in range(DRAWS) for query in queries]


def count_words(documents: Iterable[str]) -> Counter[str]:
    """Counts the words of documents: the lexicon of a collection."""
    return Counter(chain.from_iterable(map(plain_words, documents)))


def recovered(clean: float, typed: float, fixed: float) -> float | None:
    """Returns the share of a loss that is recovered; None if nothing was lost."""
    return (fixed - typed) / (clean - typed) if clean > typed else None
