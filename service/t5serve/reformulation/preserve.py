"""What of a query must not be lost: numbers, quoted phrases, capitalised names."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection
from typing import Literal

from t5serve.reformulation.text import WORD, fold

Kind = Literal["numbers", "quoted", "capitalised"]

NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
# A single quote counts only around words: elsewhere it is an apostrophe.
QUOTED = re.compile(
    r'"([^"]+)"|\u201c([^\u201d]+)\u201d|\u00ab([^\u00bb]+)\u00bb|(?<!\w)\'([^\']+)\'(?!\w)'
)
NAME = re.compile(r"\w+(?:['\u2019.&-]\w+)*")
SENTENCE_END = ".?!:"


def keeps(query: str, candidate: str, kinds: Collection[Kind]) -> bool:
    """Whether a candidate has all of these that the query has, as often."""
    return all(KINDS[kind](query, candidate) for kind in kinds)


def _keeps_numbers(query: str, candidate: str) -> bool:
    return _numbers(query) <= _numbers(candidate)


def _keeps_quoted(query: str, candidate: str) -> bool:
    there = _spaced(candidate)
    phrases = [next(filter(None, match)) for match in QUOTED.findall(query)]
    return all(_spaced(phrase) in there for phrase in phrases)


def _keeps_capitalised(query: str, candidate: str) -> bool:
    there = _spaced(candidate)
    return all(_spaced(name) in there for name in capitalised(query))


def capitalised(text: str) -> list[str]:
    """The words that are names by their capitals.

    The first word of a sentence is one if it has capitals elsewhere, or a name next to it; in a
    text all in capitals none is.
    """
    text = unicodedata.normalize("NFKC", text)
    if text.isupper():
        return []
    found = list(NAME.finditer(text))
    names = []
    for place, match in enumerate(found):
        word = match.group().removesuffix("'s").removesuffix("\u2019s")
        if (
            not any(c.isupper() or c.istitle() for c in word)
            or re.split("['\u2019]", word)[0] == "I"
        ):
            continue
        before = text[: match.start()].rstrip("\"'\u201c\u00ab( \t")
        if not before or before[-1] in SENTENCE_END:
            following = found[place + 1].group() if place + 1 < len(found) else ""
            inside = any(c.isupper() for c in word[1:])
            if not inside and not following[:1].isupper():
                continue
        names.append(word)
    return names


def _numbers(text: str) -> Counter[str]:
    plain = unicodedata.normalize("NFKC", text)
    return Counter(NUMBER.findall(THOUSANDS.sub("", plain)))


def _spaced(text: str) -> str:
    """The folded words between single spaces, so that one phrase is found in another."""
    return f" {' '.join(WORD.findall(fold(text)))} "


KINDS: dict[Kind, Callable[[str, str], bool]] = {
    "numbers": _keeps_numbers,
    "quoted": _keeps_quoted,
    "capitalised": _keeps_capitalised,
}
