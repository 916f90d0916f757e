"""Clean texts to make typos in: searches, definitions and examples of WordNet, frequent words."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from t5train.pairs import prefix
from t5train.searches import SEPARATOR, Row
from t5train.words import words

LONGEST = 16  # words of a text
SHORTEST = 2
MOST_REPEATED = 200
QUOTED = re.compile(r'"([^"]+)"')
BRACKETS = re.compile(r"\([^)]*\)")
PARTS = ("data.noun", "data.verb", "data.adj", "data.adv")


def read_glosses(directory: Path) -> Iterator[str]:
    """Yields the definitions of WordNet's synsets and the sentences that show their use."""
    for name in PARTS:
        for line in (directory / name).read_text(encoding="utf-8").splitlines():
            _, _, gloss = line.partition("| ")
            if not line.startswith("  ") and gloss:
                yield from filter(_is_short, QUOTED.findall(gloss))
                definitions = BRACKETS.sub(" ", QUOTED.sub(" ", gloss)).split(";")
                yield from filter(_is_short, (" ".join(text.split()) for text in definitions))


def list_clean(rows: Iterable[Row], known: frozenset[str]) -> Iterator[str]:
    """Yields the searches of rows, and requests in which every word in small letters is known.

    A program can't tell a typo in a request from a rare name, so requests with either are left out.
    """
    for row in rows:
        if _is_spelt(row.source, known):
            yield row.source
        yield from (target for target in row.targets if _is_spelt(target, known))


def balance(rows: Iterable[Row], most: int, rng: random.Random) -> Iterator[str]:
    """Yields requests and searches, at most `most` rows of an origin.

    Pieces that are learnt from all rows would be names that templates repeat.
    """
    by_origin: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_origin[f"{row.task}/{row.origin}"].append(row)
    for origin_rows in by_origin.values():
        for row in rng.sample(origin_rows, min(most, len(origin_rows))):
            yield prefix(row.task) + row.source
            yield SEPARATOR.join(row.targets)


def repeat_by_frequency(words_and_zipf: Iterable[tuple[str, float]]) -> Iterator[str]:
    """Yields words, each as often as it comes in 10^7 words, but 1 to `MOST_REPEATED` times.

    Args:
        words_and_zipf: Words with the logarithm to base ten of how often each comes in 10^9 words.
    """
    for word, zipf in words_and_zipf:
        yield from [word] * max(1, min(MOST_REPEATED, round(10 ** (zipf - 2))))


def _is_spelt(text: str, known: frozenset[str]) -> bool:
    plain = [word for word in words(text) if word.isalpha() and word.islower() and len(word) > 3]
    return _is_short(text) and all(word in known for word in plain)


def _is_short(text: str) -> bool:
    return SHORTEST <= len(text.split()) <= LONGEST
