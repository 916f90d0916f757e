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
    """The file wordings.toml: patterns, each with what takes its place, and parts of patterns."""

    rules: list[tuple[str, str]]
    framing: list[tuple[str, str]]
    parts: dict[str, str]


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


class _Rules(NamedTuple):
    """What is read in another wording, and what is left out."""

    wordings: list[_Rule]
    framing: list[_Rule]


@cache
def load_rules() -> _Rules:
    """Reads the rules that come with the package, once."""
    path = resources.files("t5serve.reformulation") / "wordings.toml"
    table = msgspec.toml.decode(path.read_bytes(), type=_Table)
    return _Rules(
        [_compile(text, said) for text, said in table.rules],
        [_compile(_insert(table.parts, text), kept) for text, kept in table.framing],
    )


def _insert(parts: dict[str, str], text: str) -> str:
    """Puts parts into a pattern, which has their names in braces."""
    for name, part in parts.items():
        text = text.replace(f"{{{name}}}", part)
    return text


def _compile(text: str, said: str) -> _Rule:
    pattern = re.compile(rf"(?:{text})(?!\S)")
    return _Rule(pattern, pattern.match if text.startswith("^") else pattern.search, said)


def plainly(text: AnalysedText) -> AnalysedText:
    """Returns a text in its plainest wording, by which two texts that ask the same compare.

    Each line is a text of its own: a turn of a conversation.
    """
    return _rewrite(text, load_rules().wordings)


def without_framing(text: AnalysedText) -> AnalysedText:
    """Returns what a request asks for, without "please find me" and "what can i do"."""
    return _rewrite(text, load_rules().framing)


def _rewrite(text: AnalysedText, rules: list[_Rule]) -> AnalysedText:
    lines = [" ".join(plain_words(line)) for line in text.text.splitlines()]
    plain = "\n".join(_apply(rules, line) for line in lines)
    return text if plain == "\n".join(lines) or not plain else AnalysedText(plain, text.english)


def _apply(rules: list[_Rule], line: str) -> str:
    for rule in rules:
        if rule.finds(line):
            line = " ".join(rule.pattern.sub(rule.said, line).split())
    return line
