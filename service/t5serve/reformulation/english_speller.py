"""Corrects words that no English text has, where one typing error explains them."""

from __future__ import annotations

import math
import re
from collections.abc import Container
from functools import cache
from typing import NamedTuple

from t5serve.reformulation.edits import edit_once, score_error
from t5serve.reformulation.english import English

MIN_LENGTH = 3  # letters of a word that is corrected
WRONG_FIRST_LETTER = 3.0  # nats; the first letter is seldom wrong
# Most short words are one letter away from a frequent word, by chance: names and abbreviations too.
PER_LETTER, MOST_LETTERS = 1.5, 10  # nats


class Certainty(NamedTuple):
    """How plausible a correction must be, in nats.

    Attributes:
        least: its log-likelihood, up to a constant.
        margin: how much less plausible all words of other stems must be. "moniter" is as near to
            "monster" as to "monitor".
    """

    least: float
    margin: float


# With the shares of queries as people typed them that change, a few right ones among them.
LIKELY = Certainty(17.0, 0.0)  # 2.2 % of 2,000 queries; 64 % of single typing errors are corrected
SURE = Certainty(20.0, 1.0)  # under 0.5 % of 3,000 queries; 44 % of single typing errors
# A word in small letters, alone: no part of a name, an address, a path, a quotation or code.
PLAIN_WORD = re.compile(r"""(?<![\w.@/\\'"=-])[a-z]+(?![\w@/\\"=-]|[.']\w)""")
# Words whose meaning is asked: "poct meaning", "what is actc". People ask what rare words mean, so
# a rare word is seldom an error here.
ASKED_WORD = re.compile(
    r"\b(?:define|(?:definition|meaning|acronym|abbreviation) (?:of|for))(?: an?| the)? ([a-z]+)"
    r"|\b(?:([a-z]+) )?([a-z]+) (?:meaning|definition|means?|stands? for|acronym|abbreviation)\b"
    r"(?! of\b| for\b)"
    r"|^(?:what|who)(?: is| are| was| were|'s)(?: an?| the)? ([a-z]+)\??$",
    re.IGNORECASE,
)


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

    def correct(
        self, query: str, certainty: Certainty = LIKELY, known: Container[str] = frozenset()
    ) -> str:
        """Returns a query with each misspelt word replaced by the most plausible word.

        Args:
            query: the query.
            certainty: how plausible a correction must be, LIKELY or SURE. For words whose meaning
                is asked, it must be SURE.
            known: words that are right although the English list lacks them.
        """
        asked = {word for groups in ASKED_WORD.findall(query) for word in groups}

        def correct_word(match: re.Match[str]) -> str:
            word = match.group()
            if word in known:
                return word
            return self._correct_word(word, SURE if word in asked else certainty)

        return PLAIN_WORD.sub(correct_word, query)

    def is_misspelt(self, word: str) -> bool:
        """Whether a word in small letters would be replaced."""
        return self._correct_word(word, LIKELY) != word

    def _correct_word(self, word: str, certainty: Certainty) -> str:
        is_known = self._english.is_derived(word) or self._english.is_word(word.removesuffix("s"))
        if is_known or len(word) < MIN_LENGTH:
            return word
        terms = filter(self._english.is_word, edit_once(word))
        scored = sorted((-self._plausibility(word, term), term) for term in terms)
        if not scored or -scored[0][0] <= certainty.least:
            return word
        cost, best = scored[0]
        stem = self._english.stem(best)
        rivals = (rival for rival, term in scored if self._english.stem(term) != stem)
        return word if next(rivals, math.inf) - cost < certainty.margin else best

    def _plausibility(self, word: str, term: str) -> float:
        """Returns the log-likelihood that a term was meant and no other word, up to a constant."""
        plausibility = math.log(10) * self._english.frequency(term) + score_error(word, term)
        plausibility -= WRONG_FIRST_LETTER * (word[0] != term[0])
        return plausibility + PER_LETTER * min(len(word), MOST_LETTERS)
