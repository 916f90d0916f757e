"""Queries of an exact length, as text and as token ids."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from t5bench.errors import BenchError
from t5gguf.vocab import Vocabulary

WORD = re.compile(r"\u2581[a-z]{3,}")  # SentencePiece pieces that are whole words
TRIES = 1000


@dataclass(frozen=True)
class Query:
    """One query; its ids end with `</s>`."""

    text: str
    ids: list[int]


def draw_queries(vocabulary: Vocabulary, tokens: int, count: int, seed: int = 0) -> list[Query]:
    """Draws queries of random words with exactly `tokens` tokens each, `</s>` included.

    Raises:
        BenchError: The vocabulary has no words for the length.
    """
    random = Random(f"{seed} {tokens}")  # noqa: S311 - seeded on purpose
    words = [piece[1:] for piece in vocabulary.tokens if WORD.fullmatch(piece)]
    queries: list[Query] = []
    for _ in range(TRIES if words else 0):
        text = " ".join(random.choices(words, k=tokens - 1))
        query = Query(text, vocabulary.encode(text))
        if len(query.ids) == tokens:  # adjacent pieces may be split in another way
            queries.append(query)
        if len(queries) == count:
            return queries
    raise BenchError(f"{vocabulary.source} has no words to make {tokens} tokens of")


def tokenise_lines(vocabulary: Vocabulary, lines: Iterable[str], prefix: str = "") -> list[Query]:
    """Returns the queries of lines that are not blank."""
    texts = [prefix + line.strip() for line in lines if line.strip()]
    return [Query(text, vocabulary.encode(text)) for text in texts]
