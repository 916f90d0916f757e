"""Questions as people ask a search box: in small letters, cut short, or as keywords.

A model that was shown only whole questions does not know what to do with "guitar chords for
beginners", which is what most people type.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from t5train.words import keywords

TYPED, CUT, KEYWORDS = 0.45, 0.3, 0.1  # of the pairs of questions
OPENING = re.compile(
    r"^(?:what|who|which|where|when|why|how)(?:'s| (?:is|are|was|were|do|does|did|can|could|should"
    r"|would|to))?(?: (?:i|you|we|one|someone|there))?(?: some of the| some| the| an?)? (?=\w)"
)


def typed(question: str) -> str:
    """In small letters, without its mark."""
    return question.lower().rstrip("?.! ")


def cut_short(question: str) -> str:
    """Likewise, and without the words that only say that it is a question."""
    return OPENING.sub("", typed(question), count=1)


def variants(source: str, target: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """A pair of questions as it might be typed, for some of the pairs."""
    chance = rng.random()
    short = rng.choice((typed(target), cut_short(target)))
    if chance < TYPED:
        yield typed(source), typed(target)
    elif chance < TYPED + CUT:
        yield cut_short(source), short
    elif chance < TYPED + CUT + KEYWORDS:
        yield " ".join(keywords(source)).lower(), short
