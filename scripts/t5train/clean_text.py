"""Clean texts to make typos in: searches, definitions and examples of WordNet, frequent words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from t5train.searches import Row
from t5train.words import words

LONGEST = 16  # words of a text
SHORTEST = 2
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

    Requests have typos and rare names, which are alike to a program. Searches have none, but for
    keywords that were typed as they are.
    """
    for row in rows:
        if _is_spelt(row.source, known):
            yield row.source
        yield from (target for target in row.targets if _is_spelt(target, known))


def _is_spelt(text: str, known: frozenset[str]) -> bool:
    plain = [word for word in words(text) if word.isalpha() and word.islower() and len(word) > 3]
    return _is_short(text) and all(word in known for word in plain)


def _is_short(text: str) -> bool:
    return SHORTEST <= len(text.split()) <= LONGEST
