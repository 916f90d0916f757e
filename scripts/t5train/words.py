"""The words of a query: content words, numbers, names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

WORD = re.compile(r"[^\W_]+(?:['\u2019.&+-][^\W_]+)*[+#]*")
STOP = frozenset(
    """
    a about after all also am an and any are as at be because been before being but by can could
    did do does doing don down for from had has have having he her him his how i if in into is it
    its just like me more most much my no not of off on one or other our out over should so some
    such than that the their them then there these they this those to too under until up very was
    we were what when where which while who whom whose why will with would you your s t isn doesn
    didn can't cannot don't doesn't isn't aren't won't i'm what's it's that's there's get got
    """.split()  # noqa: SIM905 - a list would be a screen long
)


def words(text: str) -> list[str]:
    """Returns the words, unchanged."""
    return WORD.findall(text)


def normal(text: str) -> str:
    """Returns the text without case and punctuation, for comparisons."""
    return " ".join(word.casefold() for word in words(text))


def content(text: str) -> list[str]:
    """Returns the content words in lower case and in order."""
    lower = [word.casefold() for word in words(text)]
    return [word for word in lower if word not in STOP]


def keywords(text: str) -> list[str]:
    """Returns the content words, unchanged."""
    return [word for word in words(text) if word.casefold() not in STOP]


def numbers(text: str) -> set[str]:
    """Returns the words with a digit."""
    return {word.casefold() for word in words(text) if any(c.isdigit() for c in word)}


def names(text: str) -> set[str]:
    """Returns the capitalised words, except the first word, which always has a capital."""
    later_words = words(text)[1:]
    return {word for word in later_words if word != word.lower() and word.casefold() not in STOP}


def similarity(left: str, right: str) -> float:
    """Returns the Jaccard similarity: shared words / all words, stop words included."""
    a, b = set(normal(left).split()), set(normal(right).split())
    return len(a & b) / len(a | b) if a | b else 1.0


class Frequencies:
    """The counts of words in texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._counts = Counter(word for text in texts for word in normal(text).split())

    def rarest(self, text: str) -> str | None:
        """Returns the content word of a text with the lowest count; None without content words."""
        return min(content(text), key=lambda word: self._counts[word], default=None)
