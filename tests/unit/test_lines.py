"""Files of queries: the formats of lines and results."""

from __future__ import annotations

import io
import json

import pytest

from t5serve.commands import lines
from t5serve.commands.lines import Query
from t5serve.errors import InvalidRequest
from t5serve.reformulation.candidates import Reformulation, original_candidate
from t5serve.reformulation.results import QueryResult

RESULT = QueryResult(
    "ein Weg",
    [
        Reformulation(
            text="der Weg", score=-0.25, model_score=-0.25, rank=1, tokens=2, source="model"
        ),
        Reformulation(
            text="ein Pfad", score=-1.5, model_score=-1.5, rank=2, tokens=3, source="model"
        ),
    ],
)


@pytest.mark.parametrize(
    ("line_format", "line", "expected"),
    [
        ("text", "a b\n", Query("1", "a b")),
        ("text", "a\tb\r\n", Query("1", "a\tb")),
        ("text", "\n", Query("1", "")),
        ("tsv", "7\ta b\n", Query("7", "a b")),
        ("tsv", "a b\n", Query("1", "a b")),
        ("jsonl", '"a\\tb"\n', Query("1", "a\tb")),
        ("jsonl", '{"id": "x", "text": "a"}', Query("x", "a")),
        ("jsonl", '{"id": 3, "text": "a"}', Query("3", "a")),
        ("jsonl", '{"text": "a"}', Query("1", "a")),
    ],
)
def test_a_line_is_a_query(line_format: lines.LineFormat, line: str, expected: Query) -> None:
    """A query has its own id or the number of its line."""
    assert list(lines.read_queries([line], line_format)) == [expected]


@pytest.mark.parametrize(
    ("line_format", "line"),
    [
        ("tsv", "1\ta\tb"),
        ("jsonl", "how do i"),
        ("jsonl", ""),
        ("jsonl", '{"query": "a"}'),
        ("jsonl", '{"text": 1}'),
        ("jsonl", "[1]"),
    ],
)
def test_another_line_is_named(line_format: lines.LineFormat, line: str) -> None:
    """The error names the number of the invalid line, and what it should be."""
    good = {"tsv": "a", "jsonl": '"a"'}
    with pytest.raises(InvalidRequest, match=r"^line 2: .*; expected \S"):
        list(lines.read_queries([good[line_format], line], line_format))


def test_text_is_a_line_each() -> None:
    assert lines.format_result(Query("7", "ein Weg"), RESULT, "text") == "der Weg\nein Pfad\n"


def test_tsv_has_id_rank_text_and_score() -> None:
    written = lines.format_result(Query("7", "ein Weg"), RESULT, "tsv")
    assert written == "7\t1\tder Weg\t-0.2500\n7\t2\tein Pfad\t-1.5000\n"


def test_an_original_can_not_break_a_line() -> None:
    """The original has no score, and its tabs become spaces."""
    result = QueryResult("a\tb", [original_candidate("a\tb")], "queue_full")
    assert lines.format_result(Query("7", "a\tb"), result, "tsv") == "7\t1\ta b\t\n"


def test_json_is_what_the_service_sends() -> None:
    """A line is an element of `results`."""
    body = json.loads(lines.format_result(Query("7", "ein Weg"), RESULT, "jsonl"))
    assert body["id"] == "7"
    assert body["queries"] == ["der Weg", "ein Pfad"]
    assert body["fallback"] is False


def test_what_can_not_be_read_twice_has_no_total() -> None:
    assert lines.count_lines(io.StringIO("a\nb\n")) is None
