"""Guards of answers that are several queries: what all of them keep together, and none adds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property, partial
from itertools import pairwise

from t5gguf.tasks import Preserved
from t5serve.reformulation.content_words import AUXILIARIES
from t5serve.reformulation.english import English
from t5serve.reformulation.guards.analysed_text import AnalysedText, analyse_conversation
from t5serve.reformulation.guards.aspects import Aspects
from t5serve.reformulation.guards.attributes import ATTRIBUTES
from t5serve.reformulation.guards.content import MIN_KEYWORDS, adds_words, has_word
from t5serve.reformulation.guards.guards import ENGLISH_ONLY, Guards
from t5serve.reformulation.guards.identifiers import Identifiers
from t5serve.reformulation.guards.invention import Invention
from t5serve.reformulation.guards.negation import Negation
from t5serve.reformulation.guards.numbers import Numbers
from t5serve.reformulation.guards.opposites import Opposites
from t5serve.reformulation.guards.phrases import Phrases, find_capitalised_names, find_quotations
from t5serve.reformulation.guards.questions import asks_less
from t5serve.reformulation.guards.relations import RELATIONS
from t5serve.reformulation.guards.scopes import find_negations, overlaps
from t5serve.reformulation.guards.wordings import without_framing
from t5serve.reformulation.lexicon import EMPTY, Lexicon

Pieces = Sequence[AnalysedText]
ASKING = frozenset({"how", "what", "when", "where", "which", "who", "why"})
POINTING = frozenset(
    {"he", "her", "his", "it", "its", "mine", "she", "their", "them", "there", "they"}
)
MIN_SHARED = 2  # content words of the query that make a text be about it


class ListGuards:
    """The guards of one query whose answer is a list of queries.

    What the query has must stand in at least one query of the list, and none may invent anything.
    With `rare` each is about the query: it has a rare word or a name of the query (a content word,
    if that has neither), or two of its content words, or no others but attributes that the query
    asks for. A list of one query is judged like any text.

    Args:
        query: the query, without a prefix.
        preserve: what a list must keep.
        terms: words and phrases that a list must have.
        lexicon: words that are spelled rightly, whatever they look like.
        history: the earlier turns of the conversation; what they say is not invented.
    """

    def __init__(
        self,
        query: str,
        preserve: Collection[Preserved] = (),
        terms: Sequence[str] = (),
        lexicon: Lexicon = EMPTY,
        history: Sequence[str] = (),
    ) -> None:
        self._english = English.load()
        self._query = AnalysedText(query, self._english)
        self._said = analyse_conversation(self._query, history)
        self._make_guards = partial(Guards, query, preserve, terms, lexicon, history)
        self._negation = Negation(self._query, self._said)
        self._opposites = Opposites(self._query)
        self._terms = terms
        self._lexicon = lexicon
        checks_words = not ENGLISH_ONLY.isdisjoint(preserve)
        self._invention = Invention(self._said, lexicon, checks_words=checks_words)
        tests: dict[Preserved, Callable[[Pieces], bool]] = {
            "numbers": lambda pieces: Numbers(self._query).rejects(self._join(pieces)),
            "quoted": lambda pieces: lacks_phrase(pieces, find_quotations(query)),
            "capitalised": lambda pieces: lacks_phrase(pieces, find_capitalised_names(query)),
            "identifiers": lambda pieces: Identifiers(self._query).rejects(self._join(pieces)),
            "negation": self._negates_otherwise,
            "rare": self._strays,
            "content": self._changes_content,
            "keywords": self._changes_keywords,
            "aspects": Aspects(self._query, self._said, lexicon).rejects_list,
        }
        self._tests = {name: test for name, test in tests.items() if name in preserve}

    @cached_property
    def _asked(self) -> AnalysedText:
        """The query without words that only ask."""
        return without_framing(self._query)

    @cached_property
    def _alone(self) -> Guards:
        """The guards of a list of one query."""
        return self._make_guards()

    def violation(self, texts: Sequence[str]) -> str | None:
        """Returns the name of the first guard that rejects a list; None if all pass."""
        if len(texts) == 1:
            return self._alone.violation(texts[0])
        pieces = [AnalysedText(text, self._english) for text in texts]
        if lacks_phrase(pieces, self._terms):
            return "terms"
        for name, rejects in self._tests.items():
            if rejects(pieces):
                return name
        if self._tests and any(map(self._invention.rejects, pieces)):
            return "invention"
        return None

    def _join(self, pieces: Pieces) -> AnalysedText:
        return AnalysedText("\n".join(piece.text for piece in pieces), self._english)

    def _lost(
        self,
        query: AnalysedText,
        pieces: Pieces,
        places: Sequence[int],
        *,
        synonyms: bool = True,
    ) -> list[int]:
        """Returns the places of a query's words that no query of the list has."""
        return [
            index
            for index in places
            if not any(
                has_word(piece, query, index, self._lexicon, synonyms=synonyms) for piece in pieces
            )
        ]

    def _negates_otherwise(self, pieces: Pieces) -> bool:
        """Whether a negation was lost or added, or a query of the list says the opposite."""
        expected = self._opposites.left(pieces)
        found = [scope for piece in pieces for scope in find_negations(piece)]
        if len(found) < len(expected):
            return True
        negated = [*find_negations(self._said)]
        for scopes, others in ((expected, found), (found, negated)):
            if not all(any(overlaps(scope, other) for other in others) for scope in scopes):
                return True
        return any(map(self._negation.says_opposite, pieces))

    def _strays(self, pieces: Pieces) -> bool:
        """Whether a rare word was lost, or a query of the list is about something else."""
        query, english = self._asked, self._english
        places = [index for index in query.content if not query.words[index].isdigit()]
        rare = [index for index in places if not english.is_common(query.words[index])]
        if self._lost(query, pieces, rare, synonyms=False):
            return True
        named = find_antecedents(query)
        if named and not all(len(self._lost(query, [one], named)) < len(named) for one in pieces):
            return True
        names = find_capitalised_names(self._query.text)
        anchors = rare if rare or names else places
        return bool(places) and not all(self._is_about(one, anchors, names) for one in pieces)

    def _is_about(self, piece: AnalysedText, anchors: list[int], names: list[str]) -> bool:
        """Whether a text has one of these words or names, or otherwise enough of the query.

        Of "lioness or norwich terrier" only one is rare, but a list has a query about each.
        """
        if len(self._lost(self._asked, [piece], anchors, synonyms=False)) < len(anchors):
            return True
        if any(not lacks_phrase([piece], [name]) for name in names):
            return True
        request = frozenset(self._query.words)
        own = [
            index for index in piece.content if not ATTRIBUTES.is_asked(piece.words[index], request)
        ]
        has_attribute = len(own) < len(piece.content)
        if len(own) == 1 and has_attribute and self._is_part_of_name(piece.stems[own[0]], anchors):
            return False
        shared = sum(
            has_word(self._said, piece, index, self._lexicon, candidate_first=False)
            for index in own
        )
        return shared >= min(MIN_SHARED, len(own)) > 0

    def _is_part_of_name(self, stem: str, anchors: list[int]) -> bool:
        """Whether a word stands beside a rare one in the query: "temple" of "parthenon temple"."""
        stems = self._asked.stems
        return any(
            stem in (*stems[place - 1 : place], *stems[place + 1 : place + 2]) for place in anchors
        )

    def _changes_content(self, pieces: Pieces) -> bool:
        """Whether a content word or the question was lost, or a content word added."""
        if all(asks_less(piece, self._query) for piece in pieces):
            return True
        return bool(self._lost(self._query, pieces, self._query.content)) or self._adds_words(
            pieces
        )

    def _changes_keywords(self, pieces: Pieces) -> bool:
        """Whether too many content words were lost, or one added."""
        query = self._query
        words = {word for piece in pieces for word in piece.words}
        if not RELATIONS.isdisjoint({*query.words} - words):
            return True
        places = [index for index in query.content if not query.words[index].isdigit()]
        kept = len(places) - len(self._lost(query, pieces, places))
        return kept < MIN_KEYWORDS * len(places) or self._adds_words(pieces)

    def _adds_words(self, pieces: Pieces) -> bool:
        return any(adds_words(piece, self._said, self._lexicon) for piece in pieces)


def lacks_phrase(pieces: Pieces, phrases: Sequence[str]) -> bool:
    """Whether a phrase stands in none of the queries of a list."""
    return any(all(map(Phrases([phrase]).rejects, pieces)) for phrase in phrases)


def find_antecedents(query: AnalysedText) -> list[int]:
    """Returns the places of the content words that a later question points back to.

    Of "what is the capital of chile and how many people live there" these are "capital" and
    "chile": a search for "how many people live" would be about nothing. Empty for other queries.
    """
    for index, (word, later) in enumerate(pairwise(query.words)):
        asks = later in ASKING or later in AUXILIARIES
        if word == "and" and asks and not POINTING.isdisjoint(query.words[index + 2 :]):
            return [place for place in query.content if place < index]
    return []
