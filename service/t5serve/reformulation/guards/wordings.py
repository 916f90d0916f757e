"""Ways to ask the same: "in what way does" for "how does", "can you tell me what" for "what"."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

import msgspec

from t5serve.reformulation.guards.analysed_text import AnalysedText
from t5serve.reformulation.text import plain_words


class _Table(msgspec.Struct, frozen=True):
    """The file wordings.toml: patterns, each with what it is read as."""

    rules: list[tuple[str, str]]


@cache
def _rules() -> list[tuple[re.Pattern[str], str]]:
    path = resources.files("t5serve.reformulation") / "wordings.toml"
    table = msgspec.toml.decode(path.read_bytes(), type=_Table)
    return [(re.compile(rf"(?:{pattern})(?!\S)"), said) for pattern, said in table.rules]


def plainly(text: AnalysedText) -> AnalysedText:
    """Returns a text in its plainest wording, by which two texts that ask the same compare.

    Each line is a text of its own: a turn of a conversation.
    """
    lines = [" ".join(plain_words(line)) for line in text.text.splitlines()]
    plain = "\n".join(map(_reword, lines))
    return text if plain == "\n".join(lines) else AnalysedText(plain, text.english)


def _reword(line: str) -> str:
    for pattern, said in _rules():
        line = " ".join(pattern.sub(said, line).split())
    return line
