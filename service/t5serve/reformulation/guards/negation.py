"""Negation and direction: "without" lost, "un-" added, from and to exchanged."""

from __future__ import annotations

from collections.abc import Iterator

from t5serve.reformulation.guards.analysed_text import AnalysedText
from t5serve.reformulation.guards.opposites import Opposites
from t5serve.reformulation.guards.questions import is_polar
from t5serve.reformulation.guards.scopes import find_negations, overlaps

_OPPOSITES = (
    ("above", "below"),
    ("after", "before"),
    ("inside", "outside"),
    ("least", "most"),
    ("less", "more"),
    ("max", "min"),
    ("maximum", "minimum"),
    ("off", "on"),
    ("over", "under"),
)
OPPOSITES = dict(_OPPOSITES) | {second: first for first, second in _OPPOSITES}
NEGATIVE_PREFIXES = ("un", "non", "in", "im", "dis", "anti")
MIN_BASE = 4  # letters after a prefix: "under" is not the negative of "der"
DIRECTIONS = frozenset({"from", "to", "into", "than", "before", "after", "over", "under", "versus"})
PAIRED = frozenset({"neither", "nor"})


class Negation:
    """Keeps what the query negates, refuses antonyms of its words, and exchanged directions.

    Args:
        query: the query.
        said: all that was said in the conversation. A candidate may negate what that negates.
    """

    def __init__(self, query: AnalysedText, said: AnalysedText) -> None:
        self._query = query
        self._said = said
        self._opposites = Opposites(query)
        self._most_negations = len([*find_negations(said)])
        self._directions = find_directions(query)
        is_question = bool(query.question_words) or is_polar(query)
        self._triples = {*find_triples(query)} if is_question else set()
        antonyms = {stem for word in query.stems for stem in query.english.antonyms(word)}
        opposites = {OPPOSITES[word] for word in query.words if word in OPPOSITES}
        antonyms.update(map(query.english.stem, opposites))
        self._antonyms = antonyms - {*said.stems} - self._opposites.stems

    def rejects(self, candidate: AnalysedText) -> bool:
        """Whether a candidate says the opposite of the query, or something else is negated."""
        scopes, expected = [*find_negations(candidate)], self._opposites.left([candidate])
        if not len(expected) <= len(scopes) <= self._most_negations:
            return True
        if any(not any(overlaps(scope, other) for other in scopes) for scope in expected):
            return True
        return self.says_opposite(candidate)

    def says_opposite(self, candidate: AnalysedText) -> bool:
        """Whether a candidate has an antonym, or an exchanged direction or role."""
        return (
            self._has_other_pair(candidate)
            or not self._antonyms.isdisjoint(candidate.stems)
            or self._has_flipped_prefix(candidate)
            or self._has_exchanged_direction(candidate)
            or self._has_exchanged_roles(candidate)
        )

    def _has_other_pair(self, candidate: AnalysedText) -> bool:
        """Whether "neither" or "nor" came in: each negates two things."""
        return not PAIRED.isdisjoint({*candidate.words} - {*self._said.words})

    def _has_flipped_prefix(self, candidate: AnalysedText) -> bool:
        """Whether "safe" became "unsafe", or the reverse."""
        lost = {*self._query.words} - {*candidate.words}
        added = {*candidate.words} - {*self._said.words}
        added = {word for word in added if not self._opposites.have(word)}
        return any(
            added & {prefix + word for prefix in NEGATIVE_PREFIXES if len(word) >= MIN_BASE}
            for word in lost
        ) or any(
            lost & {prefix + word for prefix in NEGATIVE_PREFIXES if len(word) >= MIN_BASE}
            for word in added
        )

    def _has_exchanged_roles(self, candidate: AnalysedText) -> bool:
        """Whether "dogs eat cats" became "cats eat dogs"."""
        reverses = {(last, verb, first) for first, verb, last in find_triples(candidate)}
        return not self._triples.isdisjoint(reverses - {*find_triples(candidate)})

    def _has_exchanged_direction(self, candidate: AnalysedText) -> bool:
        """Whether "kg to lbs" became "lbs to kg"."""
        directions = find_directions(candidate)
        for preposition in self._directions.keys() & directions.keys():
            before, after = self._directions[preposition], directions[preposition]
            lost = (before - after) & {*candidate.content_stems}
            new = (after - before) & {*self._query.content_stems}
            if lost and new:
                return True
        return False


def find_directions(text: AnalysedText) -> dict[str, frozenset[str]]:
    """Returns for each preposition of direction the content stems right after it."""
    directions: dict[str, frozenset[str]] = {}
    content = {*text.content}
    for index, word in enumerate(text.words):
        if word in DIRECTIONS:
            target = next((i for i in range(index + 1, index + 4) if i in content), None)
            if target is not None:
                directions[word] = directions.get(word, frozenset()) | {text.stems[target]}
    return directions


def find_triples(text: AnalysedText) -> Iterator[tuple[str, str, str]]:
    """Yields the stems of each three content words in a row: "dogs eat cats"."""
    for first, second, third in zip(text.content, text.content[1:], text.content[2:], strict=False):
        if third - first == 2:
            yield text.stems[first], text.stems[second], text.stems[third]
