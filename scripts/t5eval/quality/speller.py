"""Corrects spelling without a model, by symspellpy: over a dictionary, or a collection's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Self

from symspellpy import SymSpell, Verbosity

from t5serve.reformulation.text import fold

DICTIONARY = "frequency_dictionary_en_82_765.txt"  # of symspellpy: word, count
WORD = re.compile(r"[^\W\d_]+")
MIN_LENGTH = 3  # letters; the typing noise leaves shorter words alone as well
MAX_DISTANCE = 2


class Speller:
    """Replaces each word that the list lacks by the nearest and then most frequent listed word.

    Args:
        counts: Occurrences by folded word.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts
        self._index = SymSpell(max_dictionary_edit_distance=MAX_DISTANCE)
        for word, count in counts.items():
            if WORD.fullmatch(word):
                self._index.create_dictionary_entry(word, count)

    @classmethod
    @cache
    def of_english(cls) -> Self:
        """Makes, once, the speller over the English dictionary that symspellpy includes."""
        return cls(read_dictionary())

    def correct(self, text: str) -> str:
        """Returns a text with its words corrected, in lower case."""
        return WORD.sub(lambda match: self._correct_word(match[0]), fold(text))

    def _correct_word(self, word: str) -> str:
        if len(word) < MIN_LENGTH or word in self._counts:
            return word
        found = self._index.lookup(word, Verbosity.TOP, max_edit_distance=MAX_DISTANCE)
        return found[0].term if found else word


def read_dictionary() -> dict[str, int]:
    """Returns symspellpy's English words and their counts (of Google Books, by SCOWL's list)."""
    text = (resources.files("symspellpy") / DICTIONARY).read_text("utf-8-sig")
    rows = (line.split() for line in text.splitlines())
    return {word: int(count) for word, count in rows}
