"""The forms in which people enter one request: clean, typed in small letters, with a typo."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from t5train import noise
from t5train.searches import Row
from t5train.typed_questions import lowercase
from t5train.words import words

TYPED, MISTYPED = 0.5, 0.18  # shares of rows
REAL = 0.5  # of the typos, those that people made, where one is known
LEAST_LETTERS = 4  # of a word to mistype


class Misspellings:
    """Real misspellings by the word that was meant, and which words may be mistyped at all."""

    def __init__(self, pairs: Iterable[tuple[str, str]], common: Iterable[str]) -> None:
        """Takes pairs of a misspelt and a right word, and the words that everybody knows."""
        self.common = frozenset(common)
        self._known: defaultdict[str, list[str]] = defaultdict(list)
        self._right: dict[str, str] = {}
        for wrong, right in pairs:
            if right in self.common and wrong not in self.common:
                self._known[right].append(wrong)
                self._right[wrong] = right

    def can_mistype(self, word: str) -> bool:
        """Whether a word is one that everybody knows, not in capitals."""
        is_plain = word[1:].islower() and word.isalpha()
        return len(word) >= LEAST_LETTERS and is_plain and word.lower() in self.common

    def __call__(self, word: str, rng: random.Random) -> str:
        """A misspelling of a word; often one that people made."""
        known = self._known.get(word.lower())
        if not known or rng.random() >= REAL:
            return noise.add_typo(word, rng)
        wrong = rng.choice(known)
        return wrong.capitalize() if word[0].isupper() else wrong

    def mended(self, text: str) -> str:
        """The text with the right spelling of words in small letters that have one."""
        return " ".join(self._right.get(word, word) for word in text.split())


def read_misspellings(path: Path) -> Iterator[tuple[str, str]]:
    """The pairs of words.csv of crate-ci/typos that have one correction."""
    for line in path.read_text(encoding="utf-8").splitlines():
        wrong, *right = line.split(",")
        if len(right) == 1:
            yield wrong, right[0]


def small(row: Row) -> Row:
    """The row in small letters, the request without its mark."""
    targets = tuple(target.lower() for target in row.targets)
    return row._replace(source=lowercase(row.source), targets=targets)


def mistyped(row: Row, misspellings: Misspellings, rng: random.Random) -> Row | None:
    """The row with a typo in one common word of the request; its searches stay right.

    Names and rare words are never mistyped: what is copied from a request must be what it says.
    """
    names = {word.lower() for word in words(row.source) if word != word.lower()}
    parts = row.source.split()
    places = [at for at, word in enumerate(parts) if _can_mistype(word, names, misspellings.common)]
    if not places:
        return None
    at = rng.choice(places)
    parts[at] = misspellings(parts[at], rng)
    return row._replace(source=" ".join(parts))


def _can_mistype(word: str, names: set[str], common: frozenset[str]) -> bool:
    return len(word) >= LEAST_LETTERS and word.islower() and word in common and word not in names


def varied(row: Row, misspellings: Misspellings, rng: random.Random) -> Row:
    """The row in one form, drawn."""
    broken = mistyped(row, misspellings, rng) if rng.random() < MISTYPED else None
    row = broken or row
    return small(row) if rng.random() < TYPED else row


def all_forms(row: Row, misspellings: Misspellings, rng: random.Random) -> Iterator[Row]:
    """The row clean and typed, and in some cases mistyped."""
    yield row
    yield small(row)
    if rng.random() < 2 * MISTYPED:
        broken = mistyped(row, misspellings, rng)
        if broken:
            yield small(broken) if rng.random() < TYPED else broken
