"""What makes two texts the same, and how far apart others are."""

from __future__ import annotations

import re
import unicodedata

WORD = re.compile(r"\w+")


def clean(text: str) -> str:
    """Single spaces, none at the ends."""
    return " ".join(text.split())


def fold(text: str) -> str:
    """What texts have in common that differ in case, width or spaces only."""
    # Folding can undo what NFKC composed; once more settles it.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return clean(folded)


def words(text: str) -> list[str]:
    """The folded words; the characters of a text without words."""
    folded = fold(text)
    return WORD.findall(folded) or list(folded)


def difference(one: list[str], other: list[str]) -> float:
    """Edits that make one list of words the other, over the longer one's length: 0 to 1."""
    if not one or not other:
        return float(one != other)
    row = list(range(len(other) + 1))  # Levenshtein's distances, a word of `one` at a time
    for place, word in enumerate(one, 1):
        diagonal, row[0] = row[0], place
        for column, same in enumerate(other, 1):
            substituted = diagonal + (word != same)
            diagonal = row[column]
            row[column] = min(substituted, row[column] + 1, row[column - 1] + 1)
    return row[-1] / max(len(one), len(other))


def repeats(text: str) -> bool:
    """Whether a phrase stands twice in a row; one of a word or two, three times."""
    found = words(text)
    for size in range(1, len(found) // 2 + 1):
        times = 3 if size <= 2 else 2
        for start in range(len(found) - times * size + 1):
            phrases = [found[start + i * size : start + (i + 1) * size] for i in range(times)]
            if all(phrase == phrases[0] for phrase in phrases):
                return True
    return False
