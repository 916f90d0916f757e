"""Attributes: a search may name one for what a request asks of a thing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from t5serve.reformulation.guards.analysed_text import AnalysedText
from t5serve.reformulation.guards.attributes import ATTRIBUTES
from t5serve.reformulation.guards.content import has_word, repeats
from t5serve.reformulation.guards.opposites import Opposites
from t5serve.reformulation.guards.persons import meddles
from t5serve.reformulation.guards.phrases import ROLES
from t5serve.reformulation.guards.relations import changes_relation
from t5serve.reformulation.guards.scopes import find_negations
from t5serve.reformulation.guards.wordings import without_framing
from t5serve.reformulation.lexicon import Lexicon

MIN_COMMON_PREFIX = 4  # of "safe" and "safety"
MAX_SUFFIX = 5  # of "populous" and "population"
KEPT_RELATIONS = frozenset(
    {"above", "after", "against", "before", "below", "despite", "except", "inside", "outside"}
    | {"over", "since", "under", "unless", "until"}
)
ASKED = frozenset({"when", "where", "who", "whom", "whose", "why"})
MAY_BE_COMPARED = frozenset({"after", "against", "before", "who"})
SAME_RELATIONS = {"below": ("under",), "under": ("below",), "above": ("over",), "over": ("above",)}
CHOOSING = frozenset({"what", "which"})
ENDS = frozenset({"between", "from", "to"})  # words before the ends of a way
COMPARED = frozenset(  # with "between": each of two things may have a search of its own
    {"choose", "choosing", "compare", "comparison", "decide", "deciding", "difference"}
    | {"differences", "different", "distance", "similarities", "similarity", "vs", "which", "who"}
)
MALFUNCTIONS = frozenset({"error", "fix", "issue", "problem", "repair", "troubleshooting"})
DENIALS = frozenset({"cannot", "t"})  # "doesn't" is two words
OCCASIONS = frozenset({"buying", "choosing", "hiring", "renting", "selling", "visiting"})
COPULAS = frozenset({"are", "is", "s", "was", "were"})
DEGREES = frozenset(
    {"big", "deep", "far", "fast", "heavy", "high", "large", "long", "many", "much", "often"}
    | {"old", "tall", "wide"}
)


class Aspects:
    """Keeps each content word of the query, or an attribute that names what the query asks.

    "How tall is the tower" may become "tower height", and "who wrote dune" may become "dune
    author". A search adds nothing else, except words such as "guide" that only widen the view.
    In a list of searches, each search has other words of the query than the others, or one search
    has all words.

    Args:
        query: the query.
        said: the query and the earlier turns, which add nothing when they are said again.
        lexicon: words that are spelled rightly, whatever they look like.
    """

    def __init__(self, query: AnalysedText, said: AnalysedText, lexicon: Lexicon) -> None:
        self._asked = query
        self._query = without_framing(query)
        self._said = said
        self._lexicon = lexicon
        self._opposites = Opposites(self._query)

    def rejects(self, candidate: AnalysedText) -> bool:
        """Whether a search lost or added something."""
        return self.rejects_list([candidate])

    def rejects_list(self, pieces: Sequence[AnalysedText]) -> bool:
        """Whether a list of searches lost something, or one of them added something."""
        if any(map(self._adds, pieces)):
            return True
        words, is_list = self._query.words, len(pieces) > 1
        lost = [self._find_lost(piece, is_list=is_list) for piece in pieces]
        lost_by_all = frozenset.intersection(*lost)
        # The guard "rare" looks at words that are not English.
        if any(self._query.english.is_word(words[index]) for index in lost_by_all):
            return True
        if self._asks_less({word for piece in pieces for word in piece.words}, is_list=is_list):
            return True
        if not is_list:
            return False
        if not all(map(self._keeps_negations, pieces)) or self._divides(pieces):
            return True
        return all(lost) and not _are_about_different_words(lost)

    def _adds(self, piece: AnalysedText) -> bool:
        if repeats(piece, self._asked) or meddles(piece, self._asked):
            return True
        if changes_relation(piece, self._said):
            return True
        return not all(
            has_word(self._said, piece, index, self._lexicon, candidate_first=False)
            or self._is_licensed(piece.words[index])
            or piece.stems[index] in self._opposites.stems
            for index in piece.content
        )

    def _is_licensed(self, word: str) -> bool:
        """Whether a search may have a word: the query asks for what it names."""
        if word in ATTRIBUTES.widening:
            return True
        return any(
            derives(word, other) or (other not in self._ambiguous and self._asks(other, word))
            for other in self._query.words
        )

    @cached_property
    def _ambiguous(self) -> frozenset[str]:
        """The word "who" if the next one says which role it asks for: "who painted"."""
        pairs = itertools.pairwise(self._query.words)
        return frozenset(
            word for word, later in pairs if word == "who" and later in ATTRIBUTES.deeds
        )

    def _keeps_negations(self, piece: AnalysedText) -> bool:
        """Whether one of several searches has a negation if the query has one.

        For "my heater doesn't start", "heater troubleshooting" needs none.
        """
        left = self._opposites.left([piece])
        if any(find_negations(piece)) or not any(left):
            return True
        names_fault = not MALFUNCTIONS.isdisjoint({*piece.words} - self._query_words)
        is_denied = not DENIALS.isdisjoint(self._query_words)
        return names_fault and is_denied and all(scope.isdisjoint(piece.stems) for scope in left)

    def _divides(self, pieces: Sequence[AnalysedText]) -> bool:
        """Whether two ends are in different searches: "between May and June", "far from Rome"."""
        words = self._query_words
        if {"far", "from"} <= words:
            return all(ENDS.isdisjoint(piece.words) for piece in pieces)
        if "between" not in words or not COMPARED.isdisjoint(words):
            return False
        ends = self._find_ends()
        return not any("between" in piece.words or ends <= {*piece.stems} for piece in pieces)

    def _find_ends(self) -> set[str]:
        """Returns the stems of the words after "between" and after the next "and"."""
        words, stems = self._query.words, self._query.stems
        start = words.index("between")
        marks = [start, *(index for index in range(start, len(words)) if words[index] == "and")]
        ends = (index + 1 + (words[index + 1 : index + 2] == ["the"]) for index in marks[:2])
        return {stem for end in ends for stem in stems[end : end + 1]}

    @cached_property
    def _class_words(self) -> frozenset[int]:
        """The places of the words that say what is compared: "river" in "which river is longer"."""
        words = self._query.words
        return frozenset(
            place
            for index, word in enumerate(words)
            if word in CHOOSING
            for place in itertools.takewhile(
                self._query.content.__contains__, range(index + 1, len(words))
            )
        )

    def _asks(self, word: str, name: str) -> bool:
        """Whether a word of the query asks for an attribute of this name."""
        return ATTRIBUTES.asks(word, name, self._query_words)

    @cached_property
    def _query_words(self) -> frozenset[str]:
        return frozenset(self._query.words)

    def _find_lost(self, piece: AnalysedText, *, is_list: bool) -> frozenset[int]:
        """Returns the places of the query's content words for which a search has nothing."""
        return frozenset(
            index
            for index in self._query.content
            if not has_word(piece, self._query, index, self._lexicon)
            and not self._opposites.replace(index, piece)
            and not self._is_replaced(index, piece.words, is_list=is_list)
        )

    def _is_replaced(self, index: int, named: Iterable[str], *, is_list: bool) -> bool:
        """Whether a word says nothing, or an attribute is named for it."""
        word = self._query.words[index]
        if word in ATTRIBUTES.dropped or self._asks_who_ruled(index):
            return True
        if is_list and index == 0 and word in ROLES:
            return True
        if is_list and (word in ATTRIBUTES.comparing or index in self._class_words):
            return True
        return any(self._asks(word, name) or derives(name, word) for name in named)

    def _asks_who_ruled(self, index: int) -> bool:
        """Whether a word is the first of "under which president"."""
        words = self._query.words
        return words[index] == "under" and not CHOOSING.isdisjoint(words[index + 1 : index + 2])

    def _asks_less(self, named: Iterable[str], *, is_list: bool) -> bool:
        """Whether no attribute is named for "who", "when", "why", "how far"."""
        return any(
            not (is_list and asked in MAY_BE_COMPARED)
            and not any(self._asks(asked, name) for name in named)
            for asked in self._unanswered(named)
        )

    def _unanswered(self, named: Iterable[str]) -> Iterator[str]:
        words, kept = self._query.words, {*named}
        for index, (word, later) in enumerate(zip(words, [*words, ""][1:], strict=True)):
            if word in kept or self._asks_who_ruled(index):
                continue
            if word == "how" and later in DEGREES and later not in kept:
                yield later
            if word in KEPT_RELATIONS and kept.isdisjoint(SAME_RELATIONS.get(word, ())):
                yield word
            says_when = word == "when" and later in OCCASIONS  # "when buying a car"
            names_it = word not in {"why", "when"} and later in COPULAS
            if word in ASKED and not says_when and not names_it:
                yield word


def _are_about_different_words(lost: Sequence[frozenset[int]]) -> bool:
    """Whether each of several searches has other words of the query than the others.

    All of them have words that not all have: "asia", "central asia" and "antarctica" are different.
    """
    not_common = frozenset.union(*lost)
    own = {not_common - mine for mine in lost}
    return len(own) == len(lost) and all(own)


def derives(name: str, word: str) -> bool:
    """Whether one word is made from the other: "safety" from "safe", "inventor" from "invented".

    Both words begin alike and end in short suffixes.
    """
    pairs = zip(name, word, strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    rest = max(len(name), len(word)) - shared
    return shared >= MIN_COMMON_PREFIX and rest <= MAX_SUFFIX and shared >= rest
