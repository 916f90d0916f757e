"""Training pairs in a tab-separated file: a task, a source and a target per line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

COLUMNS = ("task", "source", "target")


class Pair(NamedTuple):
    """One example; the model reads `task: source`."""

    task: str
    source: str
    target: str


class PairsError(ValueError):
    """A file does not have the format that `write` writes."""


def prefix(task: str) -> str:
    """Returns the text before a source, `task: `; empty without a task."""
    return f"{task}: " if task else ""


def read(path: Path) -> Iterator[Pair]:
    """Yields the pairs of a file with a header line.

    Raises:
        PairsError: The file is not UTF-8, has another header, or a line without a source and
            a target in three columns.
    """
    lines = io.StringIO(_read_utf8(path), newline="")
    rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    if tuple(next(rows, ())) != COLUMNS:
        raise PairsError(f"{path}: the first line must be {', '.join(COLUMNS)}, between tabs")
    for number, row in enumerate(rows, 2):
        if len(row) != len(COLUMNS) or not row[1].strip() or not row[2].strip():
            raise PairsError(f"{path}:{number}: expected task, source and target")
        yield Pair(*row)


def write(path: Path, pairs: Iterable[Pair]) -> int:
    """Writes a header and pairs; returns the number of pairs. Whitespace becomes single spaces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write("\t".join(COLUMNS) + "\n")
        for pair in pairs:
            file.write("\t".join(" ".join(part.split()) for part in pair) + "\n")
            count += 1
    return count


def read_text(path: Path) -> list[str]:
    """Returns the lines of a file that are not blank.

    Raises:
        PairsError: The file is not UTF-8.
    """
    lines = _read_utf8(path).split("\n")
    return [line for line in (" ".join(line.split()) for line in lines) if line]


def write_text(path: Path, lines: Iterable[str]) -> int:
    """Writes one text per line; returns the number of texts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [" ".join(line.split()) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return len(texts)


def _read_utf8(path: Path) -> str:
    """Returns a file's text, without the byte order mark that some editors add."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PairsError(f"{path} is not UTF-8: {error}") from error
