"""What a text says without a negation: "cheap" for "not expensive"."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from t5serve.reformulation.english import English
from t5serve.reformulation.guards.analysed_text import AnalysedText
from t5serve.reformulation.guards.attributes import ATTRIBUTES
from t5serve.reformulation.guards.scopes import find_scopes

DEGREES = frozenset({"all", "really", "so", "that", "too", "very"})


class Opposites:
    """The negations of a query, and the words that say the same without one."""

    def __init__(self, query: AnalysedText) -> None:
        self._query = query
        self._negations = [
            (scope, self._opposites_of(place)) for place, scope in find_scopes(query)
        ]
        self.stems = frozenset().union(*(stems for _, stems in self._negations))
        """The stems of these words."""

    def have(self, word: str) -> bool:
        """Whether a word is one of these words."""
        return self._query.english.stem(word) in self.stems

    def left(self, texts: Iterable[AnalysedText]) -> list[frozenset[str]]:
        """Returns what is negated, unless one of the texts says it without a negation."""
        said = {stem for text in texts for stem in text.stems}
        return [scope for scope, stems in self._negations if stems.isdisjoint(said)]

    def _opposites_of(self, place: int) -> frozenset[str]:
        """Returns the opposites of the word at a place, if the negation is about it alone.

        It is so in "hotels that are not too expensive", but not in "hotels not near old town" or
        "not old town".
        """
        words = self._query.words
        while place < len(words) and words[place] in DEGREES:
            place += 1
        if place == len(words) or place + 1 in self._query.content:
            return frozenset()
        return _table(self._query.english).get(self._query.stems[place], frozenset())

    def replace(self, index: int, text: AnalysedText) -> bool:
        """Whether a word of the query is negated, and a text says so without a negation."""
        return any(
            self._query.stems[index] in scope and not stems.isdisjoint(text.stems)
            for scope, stems in self._negations
        )


@cache
def _table(english: English) -> dict[str, frozenset[str]]:
    """Returns the stems of opposites by the stem of a word."""
    return {
        english.stem(word): frozenset(map(english.stem, opposites))
        for word, opposites in ATTRIBUTES.opposites.items()
    }
