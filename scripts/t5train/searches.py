"""Requests and the searches that answer them, one JSON object a line.

The searches stay a list, so that a training can choose what separates them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from t5train.pairs import PairsError

SEPARATOR = " ; "  # between the searches of a target
MARK = SEPARATOR.strip()


class Row(NamedTuple):
    """One example, and the set that it comes from: a model card lists the sets' licences."""

    task: str
    source: str
    targets: tuple[str, ...]
    origin: str


def dump(row: Row) -> str:
    """A row as a line, without its end."""
    return json.dumps({**row._asdict(), "targets": list(row.targets)}, ensure_ascii=False)


def load(line: str) -> Row:
    """A row from a line.

    Raises:
        PairsError: no JSON object with a task, a source, targets and an origin.
    """
    try:
        fields = json.loads(line)
        row = Row(
            str(fields["task"]),
            str(fields["source"]),
            tuple(map(str, fields["targets"])),
            str(fields["origin"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise PairsError(f"{line[:80]!r} is no row of searches: {error}") from error
    if not row.source.strip() or not row.targets or not all(map(str.strip, row.targets)):
        raise PairsError(f"{line[:80]!r}: the source or a target is empty")
    return row


def read(path: Path) -> Iterator[Row]:
    """The rows of a file."""
    with path.open(encoding="utf-8") as file:
        yield from map(load, filter(str.strip, file))


def write(path: Path, rows: Iterable[Row]) -> int:
    """Writes rows beside the file and renames; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    count = 0
    with beside.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(dump(row) + "\n")
            count += 1
    beside.replace(path)
    return count
