"""A query or a candidate with everything that guards compare, computed at most once."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cached_property

from t5serve.reformulation.content_words import content_indices, question_words
from t5serve.reformulation.english import English
from t5serve.reformulation.text import plain_words


class AnalysedText:
    """A text taken apart.

    Args:
        text: as the client or the model wrote it.
        english: the word list that stems come from.
    """

    def __init__(self, text: str, english: English) -> None:
        self.text = unicodedata.normalize("NFKC", text)
        self.english = english

    @cached_property
    def words(self) -> list[str]:
        """The folded words."""
        return plain_words(self.text)

    @cached_property
    def padded(self) -> str:
        """The folded words between single spaces, so that a phrase matches whole words."""
        return f" {' '.join(self.words)} "

    @cached_property
    def stems(self) -> list[str]:
        """The stem of each word."""
        return [self.english.stem(word) for word in self.words]

    @cached_property
    def content(self) -> list[int]:
        """The places of the content words."""
        return content_indices(self.words)

    @cached_property
    def content_stems(self) -> list[str]:
        """The stems of the content words, in order."""
        return [self.stems[index] for index in self.content]

    @cached_property
    def question_words(self) -> frozenset[str]:
        """What the text asks for."""
        return question_words(self.words)

    def has_plural(self, word: str) -> bool:
        """Whether the text has a word in the other number: of short ones Snowball knows none."""
        return f"{word}s" in self.words or word.removesuffix("s") in self.words

    @cached_property
    def joined(self) -> frozenset[str]:
        """Each two neighbouring words as one: wi fi as wifi."""
        return frozenset(a + b for a, b in zip(self.words, self.words[1:], strict=False))


def analyse_conversation(query: AnalysedText, history: Sequence[str]) -> AnalysedText:
    """Returns all that was said: the earlier turns, then the query."""
    if not history:
        return query
    return AnalysedText("\n".join([*history, query.text]), query.english)
