"""What /v1/reformulate takes."""

from __future__ import annotations

import json
import unicodedata
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5serve.errors import InvalidRequest
from t5serve.schemas.body import parse
from t5serve.schemas.reformulate import NOT_YET, ReformulateRequest


def read(**body: object) -> ReformulateRequest:
    return parse(ReformulateRequest, json.dumps(body).encode())


def test_one_query_or_several() -> None:
    """A query, plain queries and queries with ids mean the same."""
    assert [item.text for item in read(query="a").items()] == ["a"]
    items = read(queries=["a", {"id": "7", "text": "b"}]).items()
    assert [(item.id, item.text) for item in items] == [(None, "a"), ("7", "b")]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, None, "exactly one of"),
        ({"query": "a", "queries": ["b"]}, None, "exactly one of"),
        ({"query": ""}, "query", "blank"),
        ({"query": " \t\n\u00a0"}, "query", "blank"),
        ({"query": "\u200b\ufeff\x00"}, "query", "blank"),
        ({"query": 5}, "query", "string"),
        ({"query": None}, None, "exactly one of"),
        ({"queries": []}, "queries", "at least 1"),
        ({"queries": ["a", ""]}, "queries[1].text", "blank"),
        ({"queries": ["a", 7]}, "queries[1]", "object"),
        ({"queries": [{"text": "a", "lang": "en"}]}, "queries[0].lang", "unknown field"),
        ({"query": "a", "quary": "b"}, "quary", "unknown field"),
        ({"query": "a", "max_tokens": 0}, "max_tokens", "greater"),
        ({"query": "a", "max_tokens": 129}, "max_tokens", "less"),
        ({"query": "a", "max_tokens": True}, "max_tokens", "integer"),
        ({"query": "a", "max_tokens": 1.5}, "max_tokens", "integer"),
        ({"query": "a", "max_tokens": "5"}, "max_tokens", "integer"),
        ({"query": "a", "strict": 1}, "strict", "boolean"),
        ({"query": "a", "timeout_ms": -1}, "timeout_ms", "greater"),
        ({"query": "a", "n": 2}, "n", "not supported|only 1"),
        ({"query": "a", "strategy": "beam"}, "strategy", "supported"),
        ({"query": "a", "strategy": "best"}, "strategy", "should be"),
    ],
)
def test_refusals_name_the_field(body: dict[str, object], param: str | None, message: str) -> None:
    """Each fault is said with the path to its field."""
    with pytest.raises(InvalidRequest, match=message) as raised:
        read(**body)
    assert raised.value.param == param


@pytest.mark.parametrize("field", list(NOT_YET))
def test_fields_without_effect_yet_are_refused(field: str) -> None:
    """A field of the contract that does nothing yet is refused by name, unless it asks nothing."""
    assert read(**{"query": "a", field: NOT_YET[field]}).query == "a"
    with pytest.raises(InvalidRequest, match="not supported") as raised:
        read(**{"query": "a", field: 3})
    assert raised.value.param == field


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b'{"query": "a"', b"[]", b"null", b'"a"', b"\xff\xfe", b'{"query": "\\ud800"}'],
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    """Truncated JSON, other JSON, other encodings and lone surrogates are the client's error."""
    with pytest.raises(InvalidRequest):
        parse(ReformulateRequest, raw)


@given(st.binary(max_size=200))
def test_no_bytes_are_our_fault(raw: bytes) -> None:
    """Whatever the bytes, the answer is a body or an InvalidRequest."""
    with suppress(InvalidRequest):
        parse(ReformulateRequest, raw)


@given(st.text(max_size=50))
def test_text_comes_through_unchanged(text: str) -> None:
    """A query that is taken is taken as it is."""
    if all(unicodedata.category(character)[0] in "CZ" for character in text):
        with pytest.raises(InvalidRequest, match="blank"):
            read(query=text)
    else:
        assert read(query=text).query == text
