"""Training pairs: a task, what goes in, what should come out; one a line, tab-separated."""

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
    """A file is not what `write` writes."""


def prefix(task: str) -> str:
    """What stands before a source; none without a task."""
    return f"{task}: " if task else ""


def read(path: Path) -> Iterator[Pair]:
    """The pairs of a file with a header line.

    Raises:
        PairsError: no UTF-8, another header, or a line without three columns and a target.
    """
    lines = io.StringIO(_text(path), newline="")
    rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    if tuple(next(rows, ())) != COLUMNS:
        raise PairsError(f"{path}: the first line must be {', '.join(COLUMNS)}, between tabs")
    for number, row in enumerate(rows, 2):
        if len(row) != len(COLUMNS) or not row[1].strip() or not row[2].strip():
            raise PairsError(f"{path}:{number}: expected task, source and target")
        yield Pair(*row)


def write(path: Path, pairs: Iterable[Pair]) -> int:
    """Writes pairs with a header; returns how many. Blanks in a text become single spaces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write("\t".join(COLUMNS) + "\n")
        for pair in pairs:
            file.write("\t".join(" ".join(part.split()) for part in pair) + "\n")
            count += 1
    return count


def read_text(path: Path) -> list[str]:
    """The lines of a file, without blank ones.

    Raises:
        PairsError: no UTF-8.
    """
    lines = _text(path).split("\n")
    return [line for line in (" ".join(line.split()) for line in lines) if line]


def write_text(path: Path, lines: Iterable[str]) -> int:
    """Writes one text a line; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [" ".join(line.split()) for line in lines]
    path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    return len(kept)


def _text(path: Path) -> str:
    """A file's content; what some editors put before it (a byte order mark) is none of it."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PairsError(f"{path} is not UTF-8: {error}") from error
