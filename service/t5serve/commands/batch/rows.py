"""The rows of an input file, bad ones among them, and the part of the file that a shard has."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, Self

from t5serve.commands.lines import LineFormat, parse_line
from t5serve.errors import InvalidRequest, StartupError
from t5serve.http.schemas.reformulate import require_text

MAX_LINE_BYTES = 1_000_000  # a longer line is no query, and would fill the memory
BLOCK_BYTES = 1 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """A query with its id, which is the number of its row if the file has no ids."""

    number: int
    id: str
    text: str


class BadRow(NamedTuple):
    """A row without a query that can be reformulated.

    Attributes:
        code: the reason for programs.
        message: the reason for people.
    """

    number: int
    code: str
    message: str
    id: str | None = None


class Position(NamedTuple):
    """A place between two rows.

    Attributes:
        offset: where the next row begins: a byte, or a row of a Parquet file.
        number: how many rows of the file come before it.
    """

    offset: int
    number: int


class Item(NamedTuple):
    """A row, and the position after it."""

    row: Row | BadRow
    end: Position


@dataclass(frozen=True)
class Shard:
    """One of several contiguous parts of a file; `index` is from 1."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `i/n`.

        Raises:
            ValueError: the text has another form, or i is not from 1 to n.
        """
        index, _, count = text.partition("/")
        shard = cls(int(index), int(count))
        if not 1 <= shard.index <= shard.count:
            raise ValueError(text)
        return shard

    def bounds(self, size: int) -> tuple[int, int]:
        """Returns where this part of `size` things begins and ends."""
        return size * (self.index - 1) // self.count, size * self.index // self.count


class Source(Protocol):
    """An input file, or a shard of it.

    Attributes:
        start: the position before its first row.
        total: how many rows it has.
    """

    start: Position
    total: int

    def read(self, position: Position) -> Iterator[Item]:
        """Yields the rows from a position on."""
        ...

    def cut(self, rows: int) -> list[Position]:
        """Returns where each part of so many rows begins."""
        ...


class LineFile:
    """A file of lines.

    Args:
        path: the file.
        line_format: the form of a line.
        shard: the part to read; a line belongs to the shard in which it begins.

    Raises:
        StartupError: the file can't be read.
    """

    def __init__(self, path: Path, line_format: LineFormat, shard: Shard) -> None:
        self._path = path
        self._format = line_format
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                first, last = (_next_line_start(file, at) for at in shard.bounds(size))
                file.seek(0)
                before = _count_lines(file, first)
                self.total = _count_lines(file, last - first)
        except OSError as error:
            raise StartupError(f"{path}: {error.strerror}") from error
        self.start = Position(first, before)
        self._end = last

    def read(self, position: Position) -> Iterator[Item]:
        """Yields the rows from a position on."""
        for line, end in self._read_lines(position):
            yield Item(self._parse(line, end.number), end)

    def cut(self, rows: int) -> list[Position]:
        """Returns where each part of so many rows begins."""
        ends = (end for _, end in self._read_lines(self.start))
        starts = [self.start, *islice(ends, rows - 1, None, rows)]
        return starts[: -(-self.total // rows)]

    def _read_lines(self, position: Position) -> Iterator[tuple[bytes, Position]]:
        """Yields each line, or the beginning of one that is too long, and the position after it."""
        offset, number = position
        with self._path.open("rb") as file:
            file.seek(offset)
            while offset < self._end and (line := file.readline(MAX_LINE_BYTES)):
                number += 1
                offset += len(line)
                if not line.endswith(b"\n") and len(line) == MAX_LINE_BYTES:
                    offset += _skip_line(file)
                yield line, Position(offset, number)

    def _parse(self, line: bytes, number: int) -> Row | BadRow:
        if len(line) == MAX_LINE_BYTES:
            message = f"the line has {MAX_LINE_BYTES} bytes or more"
            return BadRow(number, "malformed", message)
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        try:
            text = line.rstrip(b"\r\n").decode()
        except UnicodeDecodeError as error:
            return BadRow(number, "invalid_utf8", f"byte {error.start + 1}: {error.reason}")
        try:
            query = parse_line(text, number, self._format)
        except InvalidRequest as error:
            message = error.message.removeprefix(f"line {number}: ")
            return BadRow(number, "malformed", message)
        return check_row(Row(number, *query))


def check_row(row: Row) -> Row | BadRow:
    """Returns the row, or why its text is no query."""
    try:
        require_text(row.text)
    except ValueError as error:
        return BadRow(row.number, "invalid_request", f"the query {error}", row.id)
    return row


def digest(path: Path) -> str:
    """Returns what tells a file from another one: its size, and a hash of its start and end."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = hashlib.blake2b(file.read(BLOCK_BYTES))
        file.seek(max(0, size - BLOCK_BYTES))
        content.update(file.read(BLOCK_BYTES))
    return f"{size}-{content.hexdigest()[:32]}"


def _next_line_start(file: BinaryIO, offset: int) -> int:
    """Returns the first byte from `offset` on at which a line begins, or the file ends."""
    if offset == 0:
        return 0
    file.seek(offset - 1)
    return offset - 1 + _skip_line(file)


def _skip_line(file: BinaryIO) -> int:
    """Reads to the end of the line; returns the number of bytes."""
    length = 0
    while part := file.readline(BLOCK_BYTES):
        length += len(part)
        if part.endswith(b"\n"):
            break
    return length


def _count_lines(file: BinaryIO, length: int) -> int:
    """Counts the lines of the next bytes; a last line needs no end."""
    lines, last = 0, b"\n"
    while length and (block := file.read(min(BLOCK_BYTES, length))):
        length -= len(block)
        lines += block.count(b"\n")
        last = block[-1:]
    return lines + (last != b"\n")
