"""Corrects words that no English text has, where one typing error explains them."""

from __future__ import annotations

import math
import re
from functools import cache

from t5serve.reformulation.edits import edit_once, score_error
from t5serve.reformulation.english import English

MIN_LENGTH = 3  # letters of a word that is corrected
WRONG_FIRST_LETTER = 3.0  # nats; the first letter is seldom wrong
# Most short words are one letter away from a frequent word, by chance: names and abbreviations too.
PER_LETTER, MOST_LETTERS = 1.5, 10  # nats
MIN_PLAUSIBILITY = 17.0  # nats; 2.2 % of 2,000 queries that people typed change, typos included
# A word in small letters, alone: no part of a name, an address, a path, a quotation or code.
PLAIN_WORD = re.compile(r"""(?<![\w.@/\\'"=-])[a-z]+(?![\w@/\\"=-]|[.']\w)""")


class EnglishSpeller:
    """Corrects misspelt English words, for a service that has no lexicon of a collection.

    A word is replaced if it is no English word or name, nor made of one, and if a word that differs
    by one typing error is frequent enough. This is a noisy channel with a threshold (Kernighan,
    Church and Gale 1990, "A Spelling Correction Program Based on a Noisy Channel Model").
    """

    def __init__(self, english: English) -> None:
        self._english = english

    @classmethod
    @cache
    def load(cls) -> EnglishSpeller:
        """Returns the speller over the list that comes with the package."""
        return cls(English.load())

    def correct(self, query: str) -> str:
        """Returns a query with each misspelt word replaced by the most plausible word."""
        return PLAIN_WORD.sub(lambda match: self._correct_word(match.group()), query)

    def is_misspelt(self, word: str) -> bool:
        """Whether a word in small letters would be replaced."""
        return self._correct_word(word) != word

    def _correct_word(self, word: str) -> str:
        is_known = self._english.is_derived(word) or self._english.is_word(word.removesuffix("s"))
        if is_known or len(word) < MIN_LENGTH:
            return word
        terms = sorted(filter(self._english.is_word, edit_once(word)))  # ties need an order
        best = max(terms, key=lambda term: self._plausibility(word, term), default=word)
        return best if self._plausibility(word, best) > MIN_PLAUSIBILITY else word

    def _plausibility(self, word: str, term: str) -> float:
        """Returns the log-likelihood that a term was meant and no other word, up to a constant."""
        plausibility = math.log(10) * self._english.frequency(term) + score_error(word, term)
        plausibility -= WRONG_FIRST_LETTER * (word[0] != term[0])
        return plausibility + PER_LETTER * min(len(word), MOST_LETTERS)
