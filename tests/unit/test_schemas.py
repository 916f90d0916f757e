"""The fields of /v1/reformulate."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5gguf.recipe import Generation
from t5serve.errors import InvalidRequest
from t5serve.http.schemas.body import RequestBody, parse
from t5serve.http.schemas.chat import ChatRequest
from t5serve.http.schemas.completions import CompletionRequest
from t5serve.http.schemas.reformulate import ReformulateRequest
from t5serve.reformulation.profile import Profile


def read(**body: object) -> ReformulateRequest:
    return parse(ReformulateRequest, json.dumps(body).encode())


def test_one_query_or_several() -> None:
    """A query, plain queries and queries with ids are equivalent."""
    assert [item.text for item in read(query="a").items()] == ["a"]
    items = read(queries=["a", {"id": "7", "text": "b"}]).items()
    assert [(item.id, item.text) for item in items] == [(None, "a"), ("7", "b")]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "query", "exactly one of"),
        ({"query": "a", "queries": ["b"]}, "queries", "exactly one of"),
        ({"query": ""}, "query", "blank"),
        ({"query": " \t\n\u00a0"}, "query", "blank"),
        ({"query": "\u200b\ufeff\x00"}, "query", "blank"),
        ({"query": 5}, "query", "string"),
        ({"query": None}, "query", "exactly one of"),
        ({"queries": []}, "queries", "at least 1"),
        ({"queries": ["a", ""]}, "queries[1].text", "blank"),
        ({"queries": ["a", 7]}, "queries[1]", "object"),
        ({"queries": [{"text": "a", "lang": "en"}]}, "queries[0].lang", "unknown field"),
        ({"query": "a", "quary": "b"}, "quary", "unknown field"),
        ({"query": "a", "x" * 999: 1}, f"{'x' * 199}…", "unknown field"),
        ({"query": "a", "max_tokens": 0}, "max_tokens", "greater"),
        ({"query": "a", "max_tokens": 129}, "max_tokens", "less"),
        ({"query": "a", "max_tokens": True}, "max_tokens", "integer"),
        ({"query": "a", "max_tokens": 1.5}, "max_tokens", "integer"),
        ({"query": "a", "max_tokens": "5"}, "max_tokens", "integer"),
        ({"query": "a", "strict": 1}, "strict", "boolean"),
        ({"query": "a", "timeout_ms": -1}, "timeout_ms", "greater"),
        ({"query": "a", "n": 0}, "n", "greater"),
        ({"query": "a", "n": 17}, "n", "less"),
        ({"query": "a", "n": True}, "n", "integer"),
        ({"query": "a", "num_beams": 0}, "num_beams", "greater"),
        ({"query": "a", "num_beams": 21}, "num_beams", "less"),
        ({"query": "a", "temperature": -0.1}, "temperature", "greater"),
        ({"query": "a", "temperature": "1"}, "temperature", "number"),
        ({"query": "a", "temperature": False}, "temperature", "number"),
        ({"query": "a", "top_p": 0}, "top_p", "greater"),
        ({"query": "a", "top_p": 1.1}, "top_p", "less"),
        ({"query": "a", "min_p": 2}, "min_p", "less"),
        ({"query": "a", "top_k": -1}, "top_k", "greater"),
        ({"query": "a", "repetition_penalty": 0}, "repetition_penalty", "greater"),
        ({"query": "a", "length_penalty": 1000}, "length_penalty", "less"),
        ({"query": "a", "seed": -1}, "seed", "greater"),
        ({"query": "a", "preserve": "numbers"}, "preserve", "array"),
        ({"query": "a", "preserve": ["names"]}, "preserve[0]", "capitalised"),
        ({"query": "a", "min_difference": 1.5}, "min_difference", "less"),
        ({"query": "a", "strategy": "best"}, "strategy", "should be"),
    ],
)
def test_refusals_name_the_field(body: dict[str, object], param: str | None, message: str) -> None:
    """Each error names the path of its field."""
    with pytest.raises(InvalidRequest, match=message) as raised:
        read(**body)
    assert raised.value.param == param


def test_only_what_was_given_is_a_parameter() -> None:
    """Only fields that the request sets become parameters."""
    options = read(query="a", temperature=0, top_k=None, seed=5, n=3).options(
        100, Profile.of_prefixes({}, Generation())
    )
    assert options.parameters == {"temperature": 0, "seed": 5}
    assert (options.n, options.timeout_ms) == (3, 100)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b'{"query": "a"', b"[]", b"null", b'"a"', b"\xff\xfe", b'{"query": "\\ud8"}'],
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    """Truncated JSON, other JSON, other encodings and broken escapes are refused."""
    with pytest.raises(InvalidRequest):
        parse(ReformulateRequest, raw)


@given(st.binary(max_size=200))
def test_no_bytes_are_our_fault(raw: bytes) -> None:
    """Any bytes give a body or an InvalidRequest."""
    with suppress(InvalidRequest):
        parse(ReformulateRequest, raw)


@given(st.text(max_size=50))
def test_text_comes_through_unchanged(text: str) -> None:
    """A valid query is not changed."""
    if all(unicodedata.category(character)[0] in "CZ" for character in text):
        with pytest.raises(InvalidRequest, match="blank"):
            read(query=text)
    else:
        assert read(query=text).query == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (rb"good pizza \ud83c", "good pizza \ufffd"),  # 'good pizza 🍕'.slice(0, 12)
        (rb"\udf55 good pizza", "\ufffd good pizza"),
        (rb"\ud83c\ud83c\udf55", "\ufffd🍕"),
        (rb"\uD83C\uDF55", "🍕"),
        (rb"\udf55\ud83c", "\ufffd\ufffd"),
        (rb"\\ud83c \ud83c", "\\ud83c \ufffd"),
        (rb"\"\ud83c\"", '"\ufffd"'),
    ],
)
def test_half_a_surrogate_pair_is_replaced(raw: bytes, text: str) -> None:
    """U+FFFD stands for half of a pair, as in JavaScript's toWellFormed; whole pairs stay."""
    assert parse(ReformulateRequest, b'{"query": "%s"}' % raw).query == text


def test_a_byte_order_mark_is_skipped() -> None:
    """A mark before the body is no part of it; another one is."""
    body = b'{"query": "a"}'
    assert parse(ReformulateRequest, b"\xef\xbb\xbf" + body).query == "a"
    with pytest.raises(InvalidRequest, match="not JSON"):
        parse(ReformulateRequest, b"\xef\xbb\xbf" * 2 + body)


REQUIRED: dict[type[RequestBody], dict[str, Any]] = {
    ReformulateRequest: {"query": "a"},
    CompletionRequest: {"model": "m", "prompt": "a"},
    ChatRequest: {"model": "m", "messages": [{"role": "user", "content": "a"}]},
}


def whole_fields(model: type[RequestBody]) -> Iterator[tuple[str, int]]:
    """Yields each field that is an integer, with its least value."""
    for name, schema in model.model_json_schema()["properties"].items():
        for choice in schema.get("anyOf", [schema]):
            if choice.get("type") == "integer":
                yield name, choice.get("minimum", 0)


@pytest.mark.parametrize("model", REQUIRED)
def test_whole_numbers_may_have_a_point(model: type[RequestBody]) -> None:
    """16.0 is 16 in every integer field, as in JSON Schema; 16.5 is no integer."""
    fields = list(whole_fields(model))
    assert len(fields) >= 5
    for name, value in fields:
        body = {**REQUIRED[model], name: float(value)}
        assert getattr(parse(model, json.dumps(body).encode()), name) == value
        with pytest.raises(InvalidRequest, match="integer") as raised:
            parse(model, json.dumps({**body, name: value + 0.5}).encode())
        assert raised.value.param == name


def test_a_message_repeats_at_most_200_characters() -> None:
    """A long name of a field is cut in the message and in `param`."""
    with pytest.raises(InvalidRequest) as raised:
        read(**{"query": "a", "x" * 100_000: 1})
    assert len(raised.value.message) < 300
