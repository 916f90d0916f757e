"""What of a query must not be lost: numbers, quoted phrases, capitalised names."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection
from typing import Literal, get_args

from t5serve.reformulation.text import plain_words

Kind = Literal["numbers", "quoted", "capitalised"]
KINDS: tuple[Kind, ...] = get_args(Kind)

NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
FRACTION = str.maketrans("\u2044", "/")  # what NFKC makes of one half
# A phrase holds no quote that could open another, so that many openers take no quadratic time.
# A single quote counts only around words: elsewhere it is an apostrophe.
QUOTED = re.compile(
    r'"([^"]{1,200})"'
    r"|[\u201c\u201e]([^\u201c\u201d\u201e]{1,200})[\u201c\u201d]"
    r"|\u00ab([^\u00ab\u00bb]{1,200})\u00bb"
    r"|\u2039([^\u2039\u203a]{1,200})\u203a"
    r"|\u300c([^\u300c\u300d]{1,200})\u300d"
    r"|(?<!\w)['\u2018]([^'\u2018\u2019]{1,200})['\u2019](?!\w)"
)
NAME = re.compile(r"\w+(?:['\u2019.&-]\w+)*")
TITLE = re.compile(r"dr|ft|gen|jr|mrs?|ms|mt|no|prof|rev|sgt|sr|st|vs", re.IGNORECASE)
# Words that begin a sentence and are no names, whatever follows.
BEGINNING = re.compile(
    r"an?|am|and|are|at|can|could|did|does|do|for|from|had|has|have|how|if|in|is|it|may|my|of|on|or"
    r"|shall|should|that|the|there|this|to|was|were|what|when|where|which|who|whom|whose|why|will"
    r"|with|would",
    re.IGNORECASE,
)


class Kept:
    """What of a query a candidate must have, too."""

    def __init__(self, query: str, kinds: Collection[Kind]) -> None:
        normal = unicodedata.normalize("NFKC", query)
        self._numbers = _numbers(normal) if "numbers" in kinds else Counter()
        quoted = QUOTED.findall(normal) if "quoted" in kinds else []
        phrases = [next(filter(None, match)) for match in quoted]
        names = capitalised(normal) if "capitalised" in kinds else []
        self._phrases = [spaced for one in (*phrases, *names) if (spaced := _spaced(one)).strip()]

    def by(self, candidate: str) -> bool:
        """Whether a candidate has all of it; numbers as often."""
        if self._numbers and not self._numbers <= _numbers(candidate):
            return False
        there = _spaced(candidate) if self._phrases else ""
        return all(phrase in there for phrase in self._phrases)


def keeps(query: str, candidate: str, kinds: Collection[Kind]) -> bool:
    """Whether a candidate has all of these that the query has."""
    return Kept(query, kinds).by(candidate)


def capitalised(text: str) -> list[str]:
    """The words that are names by their capitals.

    The first word of a sentence is one if it has capitals elsewhere, or stands before another
    one and is none of the usual beginnings; in a text all in capitals none is.
    """
    text = unicodedata.normalize("NFKC", text)
    if text.isupper():
        return []
    names: list[str] = []
    next_is_name = False
    for match in reversed(list(NAME.finditer(text))):
        word = re.sub("['\u2019]s$", "", match.group())
        is_name = any(map(str.isupper, word)) and re.split("['\u2019]", word)[0] != "I"
        if is_name and _begins_sentence(text[: match.start()]):
            inside = any(map(str.isupper, word[1:]))
            is_name = inside or (next_is_name and not BEGINNING.fullmatch(word))
        if is_name:
            names.append(word)
        next_is_name = is_name
    return names[::-1]


def _begins_sentence(before: str) -> bool:
    before = before.rstrip("\"'\u201c\u201e\u00ab( \t")
    if not before or before[-1] in "?!:":
        return True
    if before[-1] != ".":
        return False
    last = before[:-1].split()[-1:]  # "St." and "U.S." end no sentence
    return not last or (not TITLE.fullmatch(last[0]) and "." not in last[0] and len(last[0]) > 1)


def _numbers(text: str) -> Counter[str]:
    plain = unicodedata.normalize("NFKC", text).translate(FRACTION)
    return Counter(NUMBER.findall(THOUSANDS.sub("", plain)))


def _spaced(text: str) -> str:
    """The folded words between single spaces, so that one phrase is found in another."""
    return f" {' '.join(plain_words(text))} "
