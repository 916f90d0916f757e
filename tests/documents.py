"""The examples in the documents, block by block."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "gguf" / "README.md", *(ROOT / "docs").glob("*.md")])
URL = "http://127.0.0.1:8000"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Example(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    text: str


def examples() -> Iterator[Example]:
    """Every block of every page."""
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
            yield Example(name, language, text)


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a shell block: lines joined where they go on, cut at pipes."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while "|" in words:
            at = words.index("|")
            yield words[:at]
            words = words[at + 1 :]
        if words:
            yield words
