"""Rewrites questions as people type them into a search box: lower case, shortened, or keywords.

A model that was trained only on whole questions can't handle "guitar chords for beginners", which
is how most people search.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from t5train.words import keywords

TYPED_SHARE, SHORTENED_SHARE, KEYWORDS_SHARE = 0.45, 0.3, 0.1  # of the pairs of questions
OPENING = re.compile(
    r"^(?:what|who|which|where|when|why|how)(?:'s| (?:is|are|was|were|do|does|did|can|could|should"
    r"|would|to))?(?: (?:i|you|we|one|someone|there))?(?: some of the| some| the| an?)? (?=\w)"
)


def lowercase(question: str) -> str:
    """Returns the question in lower case, without its question mark."""
    return question.lower().rstrip("?.! ")


def shorten(question: str) -> str:
    """Returns the question in lower case, without its opening ("what is the") and its mark."""
    return OPENING.sub("", lowercase(question), count=1)


def draw_variants(source: str, target: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yields a typed variant of a pair of questions, or nothing, at random."""
    chance = rng.random()
    short_target = rng.choice((lowercase(target), shorten(target)))
    if chance < TYPED_SHARE:
        yield lowercase(source), lowercase(target)
    elif chance < TYPED_SHARE + SHORTENED_SHARE:
        yield shorten(source), short_target
    elif chance < TYPED_SHARE + SHORTENED_SHARE + KEYWORDS_SHARE:
        yield " ".join(keywords(source)).lower(), short_target
