"""What makes two texts the same, and how far apart others are."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

LONGEST_PHRASE = 32  # words that may be one phrase of a loop
LOOKED_THROUGH = 1_000  # words of a text that loops are looked for in


def clean(text: str) -> str:
    """Single spaces, none at the ends."""
    return " ".join(text.split())


def fold(text: str) -> str:
    """What texts have in common that differ in case, width or spaces only."""
    # Folding can undo what NFKC composed; once more settles it.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return clean(folded)


def plain_words(text: str) -> list[str]:
    """The folded words, without what stands between them."""
    kept = []
    inside = False
    for c in fold(text):
        # Marks too: in Hindi and others the vowels are.
        inside = c.isalnum() or c == "_" or (inside and unicodedata.category(c)[0] == "M")
        kept.append(c if inside else " ")
    return "".join(kept).split()


def words(text: str) -> list[str]:
    """Likewise; the characters of a text without words."""
    return plain_words(text) or list(fold(text))


def difference(one: Sequence[str], other: Sequence[str]) -> float:
    """Edits that make one list of words the other, over the longer one's length: 0 to 1."""
    return Levenshtein.normalized_distance(one, other)


def repeats(found: Sequence[str]) -> bool:
    """Whether among words a phrase stands twice in a row; one of a word or two, three times."""
    found = found[:LOOKED_THROUGH]
    for size in range(1, min(len(found) // 2, LONGEST_PHRASE) + 1):
        wanted = size * (2 if size <= 2 else 1)  # words that are the same as a phrase before
        same = 0
        for word, later in zip(found, found[size:], strict=False):
            same = same + 1 if word == later else 0
            if same == wanted:
                return True
    return False
