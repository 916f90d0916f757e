"""All guards of one query."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, get_args

from t5gguf.tasks import Preserved
from t5serve.reformulation.english import English
from t5serve.reformulation.guards.analysed_text import AnalysedText, analyse_conversation
from t5serve.reformulation.guards.aspects import Aspects
from t5serve.reformulation.guards.content import Content, Keywords, Rare
from t5serve.reformulation.guards.identifiers import Identifiers
from t5serve.reformulation.guards.invention import Invention
from t5serve.reformulation.guards.negation import Negation
from t5serve.reformulation.guards.numbers import Numbers
from t5serve.reformulation.guards.phrases import Phrases, find_capitalised_names, find_quotations
from t5serve.reformulation.lexicon import EMPTY, Lexicon

PRESERVED: tuple[Preserved, ...] = get_args(Preserved)
ENGLISH_ONLY: frozenset[Preserved] = frozenset(
    {"negation", "content", "keywords", "aspects", "rare"}
)


class Guard(Protocol):
    """Looks at one aspect of candidates."""

    def rejects(self, candidate: AnalysedText) -> bool:
        """Whether a candidate must not be returned."""
        ...


MAKERS: dict[Preserved, Callable[[AnalysedText, AnalysedText, Lexicon], Guard]] = {
    "numbers": lambda query, _said, _lexicon: Numbers(query),
    "quoted": lambda query, _said, _lexicon: Phrases(find_quotations(query.text)),
    "capitalised": lambda query, _said, _lexicon: Phrases(find_capitalised_names(query.text)),
    "identifiers": lambda query, _said, _lexicon: Identifiers(query),
    "negation": lambda query, said, _lexicon: Negation(query, said),
    "rare": lambda query, _said, lexicon: Rare(query, lexicon),
    "content": Content,
    "keywords": Keywords,
    "aspects": Aspects,
}


class Guards:
    """The guards of one query.

    A candidate keeps what the query has. It adds nothing but what the query or an earlier turn of
    the conversation says.

    Args:
        query: the query, without a prefix.
        preserve: what a candidate must keep; with anything to keep, nothing may be invented.
        terms: words and phrases that every candidate must have.
        lexicon: words that are spelled rightly, whatever they look like.
        history: the earlier turns.
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
        analysed = AnalysedText(query, self._english)
        said = analyse_conversation(analysed, history)
        self._guards: dict[str, Guard] = {}
        if terms:
            self._guards["terms"] = Phrases(terms)
        for name, make in MAKERS.items():
            if name in preserve:
                self._guards[name] = make(analysed, said, lexicon)
        if preserve:
            checks_words = not ENGLISH_ONLY.isdisjoint(preserve)
            self._guards["invention"] = Invention(said, lexicon, checks_words=checks_words)

    def __bool__(self) -> bool:
        return bool(self._guards)

    def violation(self, candidate: str) -> str | None:
        """Returns the name of the first guard that rejects a candidate; None if all pass."""
        if not self._guards:
            return None
        analysed = AnalysedText(candidate, self._english)
        for name, guard in self._guards.items():
            if guard.rejects(analysed):
                return name
        return None


def preserves(query: str, candidate: str, kind: Preserved) -> bool:
    """Whether a candidate keeps what the query has of one kind."""
    english = English.load()
    analysed = AnalysedText(query, english)
    guard = MAKERS[kind](analysed, analysed, EMPTY)
    return not guard.rejects(AnalysedText(candidate, english))
