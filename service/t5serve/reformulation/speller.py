"""Corrects words that a collection does not contain."""

from __future__ import annotations

import math
import re
from weakref import WeakKeyDictionary

from symspellpy import SymSpell, Verbosity
from symspellpy.suggest_item import SuggestItem

from t5serve.reformulation.content_words import FUNCTION_WORDS
from t5serve.reformulation.edits import edit_once, score_error
from t5serve.reformulation.english import COMMON_LEVEL, English
from t5serve.reformulation.lexicon import Lexicon
from t5serve.reformulation.text import fold

MAX_EDITS = 2
MIN_LENGTH = 3  # letters of a word that is corrected
FREQUENT = 100  # occurrences; a correct word may be a slip for a word that is this frequent
WELL_KNOWN_LEVEL = 20  # SCOWL's size of words that may be meant although the lexicon lacks them
MIN_SLIP_LENGTH = 4  # letters of a correct word that may be a slip
WRONG_FIRST_LETTER, FUNCTION_WORD = 3.0, 3.0  # nats
WORD = re.compile(r"[^\W\d_]+")


class Speller:
    """Replaces words that a lexicon lacks by words that it contains.

    The model does not take part: ranked by its probabilities, corrections recovered much less of
    the loss by typos (docs/decisions/speller-reads-the-query-first.md).

    Args:
        lexicon: the correct words, with their counts.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self._english = English.load()
        self._counts = lexicon.counts
        self._symspell = SymSpell(max_dictionary_edit_distance=MAX_EDITS)
        for word, count in lexicon.counts.items():
            self._symspell.create_dictionary_entry(word, count)

    @classmethod
    def of(cls, lexicon: Lexicon) -> Speller:
        """Returns the speller of a lexicon; building one takes seconds for many words."""
        if lexicon not in _spellers:
            _spellers[lexicon] = cls(lexicon)
        return _spellers[lexicon]

    def correct(self, query: str) -> str:
        """Returns a query with each unknown word replaced by the most plausible known one."""
        return WORD.sub(lambda match: self._correct_word(match.group()), query)

    def _correct_word(self, word: str) -> str:
        folded = fold(word)
        if len(word) < MIN_LENGTH or folded in self._counts:
            return word
        terms = self._suggest(folded)
        return max(terms, key=lambda term: self._plausibility(folded, term), default=word)

    def _suggest(self, word: str) -> list[str]:
        """Returns the nearest words of the lexicon, or well-known English words that are nearer.

        If the lexicon has no near word, the result is any common English word.
        """
        suggestions = self._symspell.lookup(word, Verbosity.CLOSEST, MAX_EDITS)
        if self._english.is_common(word):
            return [item.term for item in suggestions if is_slip(word, item)]
        if not suggestions or suggestions[0].distance > 1:
            level = WELL_KNOWN_LEVEL if suggestions else COMMON_LEVEL
            nearer = [term for term in edit_once(word) if self._english.level(term) <= level]
            if nearer:
                return sorted(nearer)  # sets have no order, but ties need one
        return [item.term for item in suggestions]

    def _plausibility(self, word: str, term: str) -> float:
        """Returns the log-likelihood that a term was meant, in nats, up to a constant.

        The first letter is seldom wrong. Function words get a penalty, because their counts would
        beat those of every content word.
        """
        plausibility = math.log(self._counts.get(term, 0) + 1)
        plausibility -= WRONG_FIRST_LETTER * (word[0] != term[0])
        plausibility -= FUNCTION_WORD * (term in FUNCTION_WORDS)
        return plausibility + score_error(word, term)


_spellers: WeakKeyDictionary[Lexicon, Speller] = WeakKeyDictionary()
"""The speller of each lexicon that is in use; a speller does not keep its lexicon alive."""


def is_slip(word: str, suggestion: SuggestItem) -> bool:
    """Whether a correct word is probably a slip for another, which the collection often has."""
    is_near = suggestion.distance == 1 and suggestion.term[0] == word[0]
    return is_near and suggestion.count >= FREQUENT and len(word) >= MIN_SLIP_LENGTH
