"""Ways to ask the same: "in what way does" for "how does", "can you tell me what" for "what"."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import NamedTuple

import msgspec

from t5serve.reformulation.guards.analysed_text import AnalysedText
from t5serve.reformulation.text import plain_words


class _Table(msgspec.Struct, frozen=True):
    """The file wordings.toml: patterns, each with what it is read as."""

    rules: list[tuple[str, str]]


class _Rule(NamedTuple):
    """What is read as something else.

    Attributes:
        pattern: matches whole words.
        finds: returns a match of the pattern; at the beginning of a line alone where it can.
        said: what takes its place.
    """

    pattern: re.Pattern[str]
    finds: Callable[[str], re.Match[str] | None]
    said: str


@cache
def load_rules() -> list[_Rule]:
    """Reads the rules that come with the package, once."""
    path = resources.files("t5serve.reformulation") / "wordings.toml"
    rules = []
    for text, said in msgspec.toml.decode(path.read_bytes(), type=_Table).rules:
        pattern = re.compile(rf"(?:{text})(?!\S)")
        is_anchored = text.startswith("^")
        rules.append(_Rule(pattern, pattern.match if is_anchored else pattern.search, said))
    return rules


def plainly(text: AnalysedText) -> AnalysedText:
    """Returns a text in its plainest wording, by which two texts that ask the same compare.

    Each line is a text of its own: a turn of a conversation.
    """
    lines = [" ".join(plain_words(line)) for line in text.text.splitlines()]
    plain = "\n".join(map(_reword, lines))
    return text if plain == "\n".join(lines) else AnalysedText(plain, text.english)


def _reword(line: str) -> str:
    for rule in load_rules():
        if rule.finds(line):
            line = " ".join(rule.pattern.sub(rule.said, line).split())
    return line
