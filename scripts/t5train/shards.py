"""Rows that a teacher wrote, in numbered files: appended, never twice, also after kill -9."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from t5train.pairs import PairsError

LINES = 5000  # of a file


class Request(NamedTuple):
    """What to ask a teacher; sample 0 is greedy."""

    task: str
    source: str
    origin: str
    sample: int = 0


class Written(NamedTuple):
    """A row of a teacher, unfiltered.

    Attributes:
        task: what the teacher was asked for.
        source: the request.
        targets: its answer, a search each; empty if it wrote nothing.
        origin: where the request is from.
        sample: 0 for the greedy answer; the others are drawn.
        logprob: of the answer's tokens with the end mark, natural logarithm, summed.
        tokens: how many those are.
        is_ended: whether the end mark came.
    """

    task: str
    source: str
    targets: tuple[str, ...]
    origin: str
    sample: int
    logprob: float
    tokens: int
    is_ended: bool


Key = tuple[str, str, int]  # task, source, sample


class Shards:
    """Appends to the last file of a directory until it is full, then begins another."""

    def __init__(self, directory: Path, lines: int = LINES) -> None:
        """Mends a line that was cut off by the end of the last run, and counts."""
        self._directory, self._lines = directory, lines
        directory.mkdir(parents=True, exist_ok=True)
        for path in self.paths()[-1:]:
            _cut_torn_line(path)
        self.done = {(row.task, row.source, row.sample) for row in read(directory)}

    def paths(self) -> list[Path]:
        """The files in order."""
        return sorted(self._directory.glob("rows-*.jsonl"))

    def append(self, rows: Iterable[Written]) -> None:
        """Writes rows that are not there yet, and has the disk take them."""
        touched: dict[Path, None] = {}
        for row in rows:
            key = (row.task, row.source, row.sample)
            if key in self.done:
                continue
            path = self._last()
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row._asdict(), ensure_ascii=False) + "\n")
            self.done.add(key)
            touched[path] = None
        for path in touched:
            _sync(path)

    def _last(self) -> Path:
        number = len(self.done) // self._lines
        return self._directory / f"rows-{number:04d}.jsonl"


def read(directory: Path) -> Iterator[Written]:
    """All rows of a directory.

    Raises:
        PairsError: a line is no row.
    """
    for path in sorted(directory.glob("rows-*.jsonl")):
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    fields = json.loads(line)
                    fields["targets"] = tuple(fields["targets"])
                    yield Written(**fields)
                except (ValueError, KeyError, TypeError) as error:
                    raise PairsError(f"{path}:{number} is no row: {error}") from error


def _cut_torn_line(path: Path) -> None:
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        with path.open("r+b") as file:
            file.truncate(len(whole))


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
