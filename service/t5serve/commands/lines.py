"""Reads files of queries, one per line, and formats their results."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from itertools import count
from typing import IO, Literal, NamedTuple

import msgspec

from t5serve.errors import InvalidRequest
from t5serve.http.schemas.reformulations import result_json
from t5serve.reformulation.results import QueryResult

LineFormat = Literal["text", "tsv", "jsonl"]
JSON_FORMS = '"a query" or {"id": .., "text": "a query"}'


class Query(NamedTuple):
    """A query of a file; a query without an id has the number of its line."""

    id: str
    text: str


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    id: str | int | None = None


def read_queries(lines: Iterable[str], line_format: LineFormat) -> Iterator[Query]:
    """Yields the query of each line.

    A line is the query (text), `id<TAB>query` (tsv), or a JSON string or `{"id", "text"}` (jsonl).

    Raises:
        InvalidRequest: a line has another form.
    """
    for number, line in zip(count(1), lines, strict=False):
        text = line.rstrip("\r\n")
        if number == 1:
            text = text.removeprefix("\ufeff")  # a byte order mark
        yield parse_line(text, number, line_format)


def parse_line(text: str, number: int, line_format: LineFormat) -> Query:
    """Returns the query of a line.

    Raises:
        InvalidRequest: the line has another form.
    """
    if line_format == "tsv":
        return _parse_tsv(text, number)
    if line_format == "jsonl":
        return _parse_json(text, number)
    return Query(str(number), text)


def _parse_tsv(text: str, number: int) -> Query:
    cells = text.split("\t")
    if len(cells) > 2:
        raise InvalidRequest(f"line {number}: more than two columns; expected id<TAB>query")
    return Query(cells[0] if len(cells) == 2 else str(number), cells[-1])


def _parse_json(text: str, number: int) -> Query:
    if not text.strip():
        raise InvalidRequest(f"line {number}: is blank; expected {JSON_FORMS}")
    try:
        item = msgspec.json.decode(text, type=str | _Item)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"line {number}: {error}; expected {JSON_FORMS}") from None
    if isinstance(item, str):
        return Query(str(number), item)
    return Query(str(number if item.id is None else item.id), item.text)


def format_result(query: Query, result: QueryResult, line_format: LineFormat) -> str:
    """Formats the result of a query as lines.

    There is a line per reformulation, `text` (text) or `id, rank, text, score` (tsv), or one line
    of JSON per query (jsonl).
    """
    if line_format == "jsonl":
        return json.dumps(result_json(result, query.id), ensure_ascii=False) + "\n"
    lines = []
    for candidate in result.reformulations:
        text = " ".join(candidate.text.split())  # an original query can contain tabs
        score = "" if candidate.score is None else f"{candidate.score:.4f}"
        columns = (query.id, str(candidate.rank), text, score)
        lines.append(text if line_format == "text" else "\t".join(columns))
    return "".join(f"{line}\n" for line in lines)


def count_lines(file: IO[str]) -> int | None:
    """Counts the lines of a file; None if the file can't be read twice."""
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
    except OSError:
        return None
    start = file.tell()
    lines = sum(1 for _ in file)
    file.seek(start)
    return lines
