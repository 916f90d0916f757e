"""Faults of English that a small model makes: "an significant town", "which of them, which is"."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from t5serve.reformulation.guards.analysed_text import AnalysedText

ASKING = frozenset({"how", "what", "when", "where", "which", "who", "whose", "why"})
# How a word is spoken: "an hour", "a user", "a one-way street" begin unlike their letters.
SPOKEN_UNLIKE_WRITTEN = ("eu", "ewe", "heir", "hon", "hour", "one", "once", "u", "y")
MIN_LETTERS = 4  # shorter words may be abbreviations, which are spelled: "an fbi agent"
VOWELS = tuple("aeio")


def breaks_grammar(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether a candidate has a fault that the query does not have."""
    return repeats_question(candidate, query) or misses_article(candidate, query)


def repeats_question(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether a question word is said twice: "which of tin and iron, which is denser"."""
    added = Counter(candidate.words) - Counter(query.words)
    return any(added[word] and candidate.words.count(word) > 1 for word in ASKING)


def misses_article(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether "a" stands before a vowel, or "an" before a consonant."""
    faults = {pair for pair in pairwise(candidate.words) if _misfits(*pair)}
    return not faults.issubset(pairwise(query.words))


def _misfits(article: str, word: str) -> bool:
    if len(word) < MIN_LETTERS or not word.isalpha() or word.startswith(SPOKEN_UNLIKE_WRITTEN):
        return False
    return article == ("a" if word.startswith(VOWELS) else "an")
