"""Finds what a text negates: "without sugar", "other than red", "sugar-free"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from t5serve.reformulation.content_words import CONTRACTED, NEGATIONS
from t5serve.reformulation.guards.analysed_text import AnalysedText

EXCLUSIONS = frozenset(  # of two words
    {("apart", "from"), ("aside", "from"), ("instead", "of"), ("other", "than"), ("rather", "than")}
)
OF_OR_FROM = (["of"], ["from"])  # after "free"
SCOPE = 3  # words after a negation that it can be about
ALL = frozenset({"all", "any", "every"})  # with one of the next: "any colour but pink"
KINDS = frozenset(
    {"airline", "brand", "color", "colour", "country", "day", "flavor", "flavour", "kind"}
    | {"language", "model", "one", "place", "size", "type"}
)
ALL_OF_A_KIND = frozenset(
    {"anybody", "anyone", "anything", "anywhere", "everybody", "everyone", "everything"}
)
MOST_EXCEPTED = 3  # words after "but": "any colour but pink", not "tried all of it but it leaks"


def find_negations(text: AnalysedText) -> Iterator[frozenset[str]]:
    """Yields for each negation the stems that it can be about.

    Negations are "no", "without", "can't", "other than" and the like, "any colour but pink", "non-"
    as a word, and "free" after a word: "sugar-free", "free of sugar".
    """
    for _, stems in find_scopes(text):
        yield stems


def find_scopes(text: AnalysedText) -> Iterator[tuple[int, frozenset[str]]]:
    """Yields the same, each with the place of the first word that is negated."""
    words, stems = text.words, text.stems
    for index, word in enumerate(words):
        after = _scope_start(words, index)
        if after is not None:
            yield after, frozenset(stems[after : after + SCOPE])
        elif word == "free" and _is_hyphenated(text, index):
            yield index - 1, frozenset(stems[index - 1 : index])


def _scope_start(words: Sequence[str], index: int) -> int | None:
    """Returns where the scope of a negation begins; None if what follows is not negated."""
    word, next_word = words[index], words[index + 1 : index + 2]
    if word in NEGATIONS or word == "non":
        return index + 1
    if (word, *next_word) in EXCLUSIONS:
        return index + 2
    if word == "but" and len(words) - index - 1 <= MOST_EXCEPTED and _says_all(words[:index]):
        return index + 1
    if (word in CONTRACTED and next_word == ["t"]) or (word == "free" and next_word in OF_OR_FROM):
        return index + 2
    return None


def _says_all(words: Sequence[str]) -> bool:
    """Whether words end in "anything" or "any colour"."""
    is_kind = not KINDS.isdisjoint(words[-1:]) and not ALL.isdisjoint(words[-2:-1])
    return is_kind or not ALL_OF_A_KIND.isdisjoint(words[-1:])


def overlaps(scope: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two negations can be about the same."""
    return scope == other or not scope.isdisjoint(other)


def _is_hyphenated(text: AnalysedText, index: int) -> bool:
    """Whether the word "free" at this place belongs to the word before it: sugar-free."""
    return index > 0 and f"{text.words[index - 1]}-free" in text.text.casefold()
