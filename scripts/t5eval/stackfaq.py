"""Reads StackFAQ: threads of a question, other wordings of it by people, and answers."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from t5serve.reformulation.text import clean, plain_words

FILE = "stackfaq-dev.xml"
THREAD = re.compile(r"<qapair>(.*?)</qapair>", re.DOTALL)
ITEM = re.compile(r"<(rephr|question|answer)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True)
class Thread:
    """A question's other wordings, and its answers."""

    wordings: list[str]
    answers: list[str]


def read(path: Path) -> Iterator[Thread]:
    """Yields the threads that have a wording and an answer.

    Some rows hold a mark such as "*" instead of a text; they are dropped, and so are repetitions.
    The text is escaped twice: as HTML, and then as XML.
    """
    for body in THREAD.findall(path.read_text(encoding="utf-8", errors="replace")):
        items = [(kind, clean(html.unescape(html.unescape(text)))) for kind, text in _items(body)]
        wordings = [text for kind, text in items if kind == "rephr" and plain_words(text)]
        answers = [text for kind, text in items if kind == "answer" and plain_words(text)]
        if wordings and answers:
            yield Thread([*dict.fromkeys(wordings)], [*dict.fromkeys(answers)])


def _items(body: str) -> list[tuple[str, str]]:
    return [(match[1], match[2]) for match in ITEM.finditer(body)]
