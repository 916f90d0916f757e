"""What a text says without a negation: "cheap" for "not expensive"."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from t5serve.reformulation.english import English
from t5serve.reformulation.guards.analysed_text import AnalysedText
from t5serve.reformulation.guards.attributes import ATTRIBUTES
from t5serve.reformulation.guards.scopes import find_negations


class Opposites:
    """The negations of a query, and the words that say the same without one."""

    def __init__(self, query: AnalysedText) -> None:
        self._query = query
        table = _table(query.english)
        self._negations = [
            (scope, frozenset().union(*(table.get(stem, frozenset()) for stem in scope)))
            for scope in find_negations(query)
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
