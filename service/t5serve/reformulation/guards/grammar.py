"""Faults of English that a small model makes: "an significant town", "which of them, which is"."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from t5serve.reformulation.guards.analysed_text import AnalysedText

ASKING = frozenset({"how", "what", "when", "where", "which", "who", "whose", "why"})
# How a word is spoken: "an hour", "a user", "a one-way street" begin unlike their letters.
SPOKEN_UNLIKE_WRITTEN = ("eu", "ewe", "heir", "herb", "hon", "hour", "one", "once", "u", "y")
MIN_LETTERS = 4  # shorter words may be abbreviations, which are spelled: "an fbi agent"
VOWELS = tuple("aeio")  # "u" is spoken in both ways
LETTERED = frozenset({"class", "grade", "group", "hepatitis", "plan", "type", "vitamin"})
""""Vitamin a overdose" has no article."""


def breaks_grammar(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether a candidate has a fault that the query does not have."""
    return repeats_question(candidate, query) or misses_article(candidate, query)


def repeats_question(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether a question word is said twice: "which of tin and iron, which is denser"."""
    added = Counter(candidate.words) - Counter(query.words)
    return any(added[word] and candidate.words.count(word) > 1 for word in ASKING)


def misses_article(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether "a" stands before a vowel, or "an" before a consonant."""
    words = ["", *candidate.words]
    faults = {
        (article, word)
        for before, article, word in zip(words, words[1:], words[2:], strict=False)
        if before not in LETTERED and _misfits(article, word)
    }
    return not faults.issubset(pairwise(query.words))


def _misfits(article: str, word: str) -> bool:
    if len(word) < MIN_LETTERS or not word.isalpha() or word.startswith(SPOKEN_UNLIKE_WRITTEN):
        return False
    if word.startswith(VOWELS):
        return article == "a"
    is_spelled = not any(letter in "aeiouy" for letter in word[:2])  # "an html file"
    return article == "an" and not is_spelled
