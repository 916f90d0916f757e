"""Tells the words that a query is about from the words that only ask."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import msgspec

from t5serve.reformulation.text import plain_words

_LISTS = msgspec.toml.decode(
    (resources.files("t5serve.reformulation") / "word_lists.toml").read_bytes(),
    type=dict[str, str],
)
_SETS = {name: frozenset(words.split()) for name, words in _LISTS.items()}

FUNCTION_WORDS = _SETS["function"]
COMMAND_WORDS = _SETS["command"]
POLITE_WORDS = _SETS["polite"]
WAYS = _SETS["way"]
NEGATIONS = _SETS["negation"]
CONTRACTED = _SETS["contracted"]
AUXILIARIES = _SETS["auxiliary"]
MEDDLING_WORDS = _SETS["meddling"]
POSSESSIONS = _SETS["possession"]
FOREIGN_WORDS = _SETS["foreign"]
QUESTION_WORDS = {  # "what" and "which" ask for anything
    "how": "how",
    "when": "when",
    "where": "where",
    "who": "who",
    "whom": "who",
    "whose": "whose",
    "why": "why",
}
AFTER_WAYS = frozenset({"to", "i", "you", "we", "one", "that"})
QUALITIES = frozenset({"best", "good", "easy"})  # before "way" they only ask how


def content_indices(words: Sequence[str]) -> list[int]:
    """Returns the indices of the words that a query is about.

    "Create a table of the best ways to learn guitar" is about "learn guitar". Words of command are
    skipped at the beginning, and "(best) way to" only asks how.
    """
    indices: list[int] = []
    for index in range(len(words)):
        if asks_for_way(words, index):
            if indices[-1:] == [index - 1] and words[index - 1] in QUALITIES:
                indices.pop()
        elif not _only_asks(words, index, is_first=not indices):
            indices.append(index)
    return indices


def is_keywords(query: str) -> bool:
    """Whether a query begins with what it is about: "boil egg time", not "how to boil an egg"."""
    words = plain_words(query)
    return content_indices(words)[:1] == [0] and not query.rstrip().endswith("?")


def asks_for_way(words: Sequence[str], index: int) -> bool:
    """Whether a word asks how: "way to cook", "method of cooking", but not "milky way".

    "Best way too cook" is a typing error, "way too hot" is none.
    """
    if words[index] not in WAYS:
        return False
    after = [*words[index + 1 : index + 3], "", ""]
    if after[0] == "too":
        return not QUALITIES.isdisjoint(words[index - 1 : index])
    return after[0] in AFTER_WAYS or (after[0] in {"of", "for"} and after[1].endswith("ing"))


def question_words(words: Sequence[str]) -> frozenset[str]:
    """Returns what a text asks for; "the way to" asks how."""
    asked = {QUESTION_WORDS[word] for word in words if word in QUESTION_WORDS}
    asks_how = any(asks_for_way(words, index) for index in range(len(words)))
    return frozenset(asked | {"how"} if asks_how else asked)


def _only_asks(words: Sequence[str], index: int, *, is_first: bool) -> bool:
    word = words[index]
    if word in FUNCTION_WORDS or word in NEGATIONS or word in POLITE_WORDS:
        return True
    if word in COMMAND_WORDS:
        return is_first and not _follows_to(words, index)
    return word in CONTRACTED and words[index + 1 : index + 2] == ["t"]


def _follows_to(words: Sequence[str], index: int) -> bool:
    """Whether "to" makes a verb of a word of command: "when to see", but not "I need to see"."""
    return words[index - 1 : index] == ["to"] and COMMAND_WORDS.isdisjoint(words[:index])
