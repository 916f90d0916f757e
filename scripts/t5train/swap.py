"""Swaps names and numbers in pairs, which teaches a model to copy the subject of a query.

A small corpus has each name only a few times, so a model learns to write the names of the corpus.
With names of other texts, the same on both sides, the model learns to copy the query's names.
"""

from __future__ import annotations

import random
import re
import string
from collections import Counter
from collections.abc import Container, Iterable

from t5train.pairs import Pair
from t5train.words import names, numbers, words

MAX_COUNT = 20  # the most occurrences of a rare word in the texts
CODED_SHARE = 0.4  # of the numbers: drawn digit by digit instead of from the texts
COINED_SHARE = 0.3  # of the names and rare words: coined, so that no text has them
FOREIGN = re.compile(r"[^\u0000-\u024f\u2010-\u2027]")  # a letter that is not Latin
FOREIGN_SHARE = 0.02  # of the names and rare words: in another script
MAX_LETTERS = 12  # of a coined word


class Swapper:
    """Draws replacement words from texts; all distinct words are equally likely.

    Args:
        texts: What the words are of.
        rng: Draws them.
        common: Words that are never replaced unless they are names. Without any, the words that
            the texts have more than `MAX_COUNT` times.
    """

    def __init__(
        self, texts: Iterable[str], rng: random.Random, common: Container[str] = frozenset()
    ) -> None:
        self._rng, self._common = rng, common
        self._counts: Counter[str] = Counter()
        known_names: dict[str, None] = {}
        known_numbers: dict[str, None] = {}
        for text in texts:
            self._counts.update(words(text))
            known_names |= dict.fromkeys(sorted(names(text)))
            known_numbers |= dict.fromkeys(sorted(numbers(text)))
        rare = [word for word in self._counts if self._is_rare(word)]
        foreign = [word for word in self._counts if FOREIGN.search(word)]
        self._pools = {"name": list(known_names), "number": list(known_numbers), "rare": rare}
        self._pools["foreign"] = foreign

    def swap(self, pair: Pair) -> Pair:
        """Replaces some of the words that source and target share, on both sides."""
        _, source, target = pair
        pair_names = names(source) | names(target)
        for word in dict.fromkeys(words(source)):
            pool = self._select_pool(word, pair_names)
            if pool and word in words(target) and self._pools[pool] and self._rng.random() < 0.7:
                new = self._draw_replacement(pool, word)
                source, target = (_replace_word(text, word, new) for text in (source, target))
        return Pair(pair.task, source, target)

    def coin(self, text: str) -> str:
        """Replaces one word of three letters or more by a coined word.

        A model that has seen every word of its texts takes an unknown word for a typo. Coined
        words teach the model to keep unknown words.
        """
        candidates = [word for word in words(text) if len(word) > 2 and word.isalpha()]
        if not candidates or not self._pools["rare"]:
            return text
        word = self._rng.choice(candidates)
        return _replace_word(text, word, self._coin_word(capital=word[0].isupper()))

    def _draw_replacement(self, pool: str, word: str) -> str:
        if pool == "number" and self._rng.random() < CODED_SHARE:
            return self._make_code(word)
        if pool != "number" and self._pools["foreign"] and self._rng.random() < FOREIGN_SHARE:
            return self._rng.choice(self._pools["foreign"])
        if pool != "number" and self._pools["rare"] and self._rng.random() < COINED_SHARE:
            return self._coin_word(capital=pool == "name")
        return self._rng.choice(self._pools[pool])

    def _make_code(self, word: str) -> str:
        """Draws other digits, and in half of the cases other letters: da29-0b, xk71-4c."""
        keeps_letters = self._rng.random() < 0.5
        return "".join(
            self._rng.choice(string.digits)
            if character in string.digits
            else character
            if keeps_letters or character not in string.ascii_letters
            else self._rng.choice(
                string.ascii_uppercase if character.isupper() else string.ascii_lowercase
            )
            for character in word
        )

    def _coin_word(self, *, capital: bool) -> str:
        """Joins the start of a rare word and the end of another."""
        first, second = (self._rng.choice(self._pools["rare"]) for _ in range(2))
        start = first[: self._rng.randrange(1, min(len(first), MAX_LETTERS // 2) + 1)]
        word = start + second[-self._rng.randrange(1, min(len(second), MAX_LETTERS // 2) + 1) :]
        return word.capitalize() if capital else word

    def _select_pool(self, word: str, pair_names: set[str]) -> str | None:
        if any(c.isdigit() for c in word):
            return "number"
        if word in pair_names:
            return "name"
        return "rare" if self._is_rare(word) or FOREIGN.search(word) else None

    def _is_rare(self, word: str) -> bool:
        is_word = len(word) > 3 and word.isalpha() and word.islower()
        if self._common:
            return is_word and word not in self._common
        return is_word and self._counts[word] <= MAX_COUNT


def _replace_word(text: str, word: str, new: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", lambda _: new, text)
