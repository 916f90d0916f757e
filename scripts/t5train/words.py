"""What a query is made of: content words, numbers, names."""

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
    """The words as written."""
    return WORD.findall(text)


def normal(text: str) -> str:
    """The text without case, punctuation and spacing: equal for two that differ in those alone."""
    return " ".join(word.casefold() for word in words(text))


def content(text: str) -> list[str]:
    """The words that say what a query is about, in lower case and in order."""
    found = [word.casefold() for word in words(text)]
    return [word for word in found if word not in STOP]


def keywords(text: str) -> list[str]:
    """The content words as written."""
    return [word for word in words(text) if word.casefold() not in STOP]


def numbers(text: str) -> set[str]:
    """The words with a digit."""
    return {word.casefold() for word in words(text) if any(c.isdigit() for c in word)}


def names(text: str) -> set[str]:
    """The capitalised words but the first, which may be so for its place alone."""
    found = words(text)[1:]
    return {word for word in found if word != word.lower() and word.casefold() not in STOP}


def similarity(left: str, right: str) -> float:
    """Shared words over all words, stop words included (Jaccard)."""
    a, b = set(normal(left).split()), set(normal(right).split())
    return len(a & b) / len(a | b) if a | b else 1.0


class Frequencies:
    """How often each word occurs in a body of text."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._counts = Counter(word for text in texts for word in normal(text).split())

    def rarest(self, text: str) -> str | None:
        """The content word of a text that is rarest in the body; None when there is none."""
        found = content(text)
        return min(found, key=lambda word: self._counts[word]) if found else None
