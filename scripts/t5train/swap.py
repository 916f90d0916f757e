"""Pairs with other names and numbers: what a query is about is to be copied, whatever it is.

A small corpus has each name a few times only, so a model learns which names there are; with names
put in from elsewhere, the same on both sides, it learns to copy what stands in the query.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable

from t5train.pairs import Pair
from t5train.words import names, numbers, words

RARE = 20  # times in the texts, at most
COINED = 0.3  # of the names and rare words put in, those that no text has
LONGEST = 12  # letters of a coined word, about


class Swapper:
    """Draws the words to put in from texts; each different word is as likely as another."""

    def __init__(self, texts: Iterable[str], rng: random.Random) -> None:
        self._rng = rng
        self._counts: Counter[str] = Counter()
        name: dict[str, None] = {}
        number: dict[str, None] = {}
        for text in texts:
            self._counts.update(words(text))
            name |= dict.fromkeys(sorted(names(text)))
            number |= dict.fromkeys(sorted(numbers(text)))
        rare = [word for word in self._counts if self._is_rare(word)]
        self._pools = {"name": list(name), "number": list(number), "rare": rare}

    def __call__(self, pair: Pair) -> Pair:
        """The pair with some of the words that both sides share exchanged, on both sides."""
        _, source, target = pair
        named = names(source) | names(target)
        for word in dict.fromkeys(words(source)):
            kind = self._kind(word, named)
            if kind and word in words(target) and self._pools[kind] and self._rng.random() < 0.7:
                other = self._other(kind)
                source, target = (_replace(text, word, other) for text in (source, target))
        return Pair(pair.task, source, target)

    def coin(self, text: str) -> str:
        """The text with one of its words, of three letters or more, exchanged for a new one.

        A model that has seen every word of its texts takes an unknown one for a slip of the pen;
        of these it learns that what looks like no word it knows is to be kept.
        """
        found = [word for word in words(text) if len(word) > 2 and word.isalpha()]
        if not found or not self._pools["rare"]:
            return text
        word = self._rng.choice(found)
        return _replace(text, word, self._coined(capital=word[0].isupper()))

    def _other(self, kind: str) -> str:
        if kind != "number" and self._pools["rare"] and self._rng.random() < COINED:
            return self._coined(capital=kind == "name")
        return self._rng.choice(self._pools[kind])

    def _coined(self, *, capital: bool) -> str:
        """The beginning of one rare word and the end of another."""
        first, second = (self._rng.choice(self._pools["rare"]) for _ in range(2))
        begin = first[: self._rng.randrange(1, min(len(first), LONGEST // 2) + 1)]
        word = begin + second[-self._rng.randrange(1, min(len(second), LONGEST // 2) + 1) :]
        return word.capitalize() if capital else word

    def _kind(self, word: str, named: set[str]) -> str | None:
        if any(c.isdigit() for c in word):
            return "number"
        if word in named:
            return "name"
        return "rare" if self._is_rare(word) else None

    def _is_rare(self, word: str) -> bool:
        return len(word) > 3 and word.isalpha() and word.islower() and self._counts[word] <= RARE


def _replace(text: str, word: str, other: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", lambda _: other, text)
