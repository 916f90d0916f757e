"""Inventions: numbers that nobody gave, and words that are none."""

from __future__ import annotations

from t5serve.reformulation.guards.analysed_text import AnalysedText
from t5serve.reformulation.guards.numbers import count_numbers
from t5serve.reformulation.lexicon import Lexicon


class Invention:
    """Refuses a number that the query does not have, and a word of no language.

    A word may come from the query, from the lexicon, or be English.
    """

    def __init__(self, query: AnalysedText, lexicon: Lexicon, *, checks_words: bool) -> None:
        self._numbers = count_numbers(query.text)
        self._words = {*query.words, *query.joined, *(f"{word}s" for word in query.words)}
        self._lexicon = lexicon
        self._checks_words = checks_words

    def rejects(self, candidate: AnalysedText) -> bool:
        """Whether a candidate has an invented number or word."""
        if count_numbers(candidate.text).keys() - self._numbers.keys():
            return True
        if not self._checks_words:
            return False
        is_word = candidate.english.is_word
        return any(
            not (word.isdigit() or len(word) == 1 or is_word(word) or self._is_known(word))
            for word in candidate.words
        )

    def _is_known(self, word: str) -> bool:
        return word in self._words or word in self._lexicon
