"""Files of queries, a line each: reading them, and writing what became of them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from itertools import count
from typing import IO, Literal, NamedTuple

import msgspec

from t5serve.errors import InvalidRequest
from t5serve.http.schemas.reformulate import result_json
from t5serve.reformulation.reformulator import QueryResult

LineFormat = Literal["text", "tsv", "jsonl"]


class Query(NamedTuple):
    """A query of a file; its id is its line's number where it has none of its own."""

    id: str
    text: str


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    id: str | int | None = None


def read(lines: Iterable[str], line_format: LineFormat) -> Iterator[Query]:
    """The query of each line: the line; `id<TAB>query`; a JSON string or `{"id", "text"}`.

    Raises:
        InvalidRequest: a line that is nothing of the sort.
    """
    for number, line in zip(count(1), lines, strict=False):
        text = line.rstrip("\r\n")
        if line_format == "tsv":
            yield _from_tsv(text, number)
        elif line_format == "jsonl":
            yield _from_json(text, number)
        else:
            yield Query(str(number), text)


def _from_tsv(text: str, number: int) -> Query:
    cells = text.split("\t")
    if len(cells) > 2:
        raise InvalidRequest(f"line {number}: more than an id and a query")
    return Query(cells[0] if len(cells) == 2 else str(number), cells[-1])


def _from_json(text: str, number: int) -> Query:
    try:
        item = msgspec.json.decode(text, type=str | _Item)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"line {number}: {error}") from None
    if isinstance(item, str):
        return Query(str(number), item)
    return Query(str(number if item.id is None else item.id), item.text)


def write(query: Query, result: QueryResult, line_format: LineFormat) -> str:
    """Lines for one query: a reformulation each; or `id, rank, text, score`; or one of JSON."""
    if line_format == "jsonl":
        return json.dumps(result_json(result, query.id), ensure_ascii=False) + "\n"
    lines = []
    for one in result.reformulations:
        text = " ".join(one.text.split())  # of an original that has a tab in it
        score = "" if one.score is None else f"{one.score:.4f}"
        lines.append(text if line_format == "text" else f"{query.id}\t{one.rank}\t{text}\t{score}")
    return "".join(f"{line}\n" for line in lines)


def total(file: IO[str]) -> int | None:
    """How many lines a file has; None for what can't be read twice."""
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
    except OSError:
        return None
    start = file.tell()
    lines = sum(1 for _ in file)
    file.seek(start)
    return lines
