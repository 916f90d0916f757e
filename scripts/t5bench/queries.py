"""Inputs of an exact length, as text and as token ids."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from t5bench.errors import BenchError
from t5gguf.vocab import Vocabulary

WORD = re.compile(r"\u2581[a-z]{3,}")  # SentencePiece's pieces that are whole words
TRIES = 1000


@dataclass(frozen=True)
class Query:
    """One input; the ids end with `</s>`."""

    text: str
    ids: list[int]


def of_length(vocabulary: Vocabulary, tokens: int, count: int, seed: int = 0) -> list[Query]:
    """Words drawn at random that make up exactly so many tokens, `</s>` included.

    Raises:
        BenchError: the vocabulary has no such words.
    """
    random = Random(f"{seed} {tokens}")  # noqa: S311 - seeded on purpose
    words = [piece[1:] for piece in vocabulary.tokens if WORD.fullmatch(piece)]
    found: list[Query] = []
    for _ in range(TRIES if words else 0):
        text = " ".join(random.choices(words, k=tokens - 1))
        query = Query(text, vocabulary.encode(text))
        if len(query.ids) == tokens:  # pieces side by side may be taken apart otherwise
            found.append(query)
        if len(found) == count:
            return found
    raise BenchError(f"{vocabulary.source} has no words to make {tokens} tokens of")


def of_lines(vocabulary: Vocabulary, lines: Iterable[str], prefix: str = "") -> list[Query]:
    """Real ones."""
    texts = [prefix + line.strip() for line in lines if line.strip()]
    return [Query(text, vocabulary.encode(text)) for text in texts]
