"""Spells out the shorthand of people in a hurry: missing apostrophes, "how 2", "w/o"."""

from __future__ import annotations

import re
from collections.abc import Container
from functools import cache
from importlib import resources
from typing import NamedTuple

import msgspec

from t5serve.reformulation.content_words import CONTRACTED

# A word in small letters, alone: no part of a name, an address or code.
WORD = re.compile(r"(?<![\w.@/\\'-])[a-z0-9]+(?![\w@/\\'-]|\.\w)")
QUOTED = re.compile(r'("[^"]*")')


class _Rule(msgspec.Struct, frozen=True):
    """A word that is shorthand where a pattern matches, and what the match becomes."""

    word: str
    pattern: str
    spelling: str


class _Table(msgspec.Struct, frozen=True):
    """The file shorthand.toml."""

    words: dict[str, str]
    rules: list[_Rule]


class _Shorthand(NamedTuple):
    """What is spelled out: words everywhere, and words where a pattern matches."""

    words: dict[str, str]
    rules: list[tuple[str, re.Pattern[str], str]]


@cache
def load_shorthand() -> _Shorthand:
    """Reads the table that comes with the package, once."""
    path = resources.files("t5serve.reformulation") / "shorthand.toml"
    table = msgspec.toml.decode(path.read_bytes(), type=_Table)
    negations = {f"{verb}t": f"{verb}'t" for verb in CONTRACTED}
    rules = [(rule.word, re.compile(rule.pattern), rule.spelling) for rule in table.rules]
    return _Shorthand(table.words | negations, rules)


def spell_out(query: str, known: Container[str] = frozenset()) -> str:
    """Returns a query without shorthand.

    Quotations stay as they are. "Its", "were" and "ill" are words of their own, and stay too.

    Args:
        query: the query.
        known: words that are never changed.
    """
    words, rules = load_shorthand()

    def spell(match: re.Match[str]) -> str:
        word = match.group()
        return word if word in known else words.get(word, word)

    parts = QUOTED.split(query)
    for index in range(0, len(parts), 2):  # a quotation stands between each two
        text = WORD.sub(spell, parts[index])
        for word, pattern, spelling in rules:
            if word not in known:
                text = pattern.sub(spelling, text)
        parts[index] = text
    return "".join(parts)
