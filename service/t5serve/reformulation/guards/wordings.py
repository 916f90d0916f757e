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
    """The file wordings.toml: patterns with what each is read as, and patterns of framing."""

    rules: list[tuple[str, str]]
    framing: list[str]


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
    return [_compile(pattern, said) for pattern, said in _load_table().rules]


@cache
def _load_framing() -> list[_Rule]:
    kept = {True: r"\1", False: ""}
    return [_compile(text, kept[re.compile(text).groups > 0]) for text in _load_table().framing]


@cache
def _load_table() -> _Table:
    path = resources.files("t5serve.reformulation") / "wordings.toml"
    return msgspec.toml.decode(path.read_bytes(), type=_Table)


def _compile(text: str, said: str) -> _Rule:
    pattern = re.compile(rf"(?:{text})(?!\S)")
    return _Rule(pattern, pattern.match if text.startswith("^") else pattern.search, said)


def plainly(text: AnalysedText) -> AnalysedText:
    """Returns a text in its plainest wording, by which two texts that ask the same compare.

    Each line is a text of its own: a turn of a conversation.
    """
    return _rewrite(text, load_rules())


def without_framing(text: AnalysedText) -> AnalysedText:
    """Returns what a request asks for, without "please find me" and "what can i do"."""
    return _rewrite(text, _load_framing())


def _rewrite(text: AnalysedText, rules: list[_Rule]) -> AnalysedText:
    lines = [" ".join(plain_words(line)) for line in text.text.splitlines()]
    plain = "\n".join(_apply(rules, line) for line in lines)
    return text if plain == "\n".join(lines) or not plain else AnalysedText(plain, text.english)


def _apply(rules: list[_Rule], line: str) -> str:
    for rule in rules:
        if rule.finds(line):
            line = " ".join(rule.pattern.sub(rule.said, line).split())
    return line
