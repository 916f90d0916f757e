"""POST /v1/reformulate and other routes over a real socket: shape, refusals, deadlines."""

from __future__ import annotations

import http.client
import json
import re

import pytest

from support.reformulate_client import ERROR_KEYS, assert_still_working, post
from support.serving import Server


def test_answer_has_the_contract_s_shape(server: Server) -> None:
    """The answer has every key of the contract, with consistent numbers."""
    response = post(server, query="how do i learn python fast", strict=True)
    assert response.status_code == 200
    assert "x-t5serve-fallback" not in response.headers
    body = response.json()
    assert body.keys() == {"id", "model", "created", "results", "timings_ms", "usage"}
    (result,) = body["results"]
    assert result["original"] == "how do i learn python fast"
    assert (result["fallback"], result["fallback_reason"], result["cached"]) == (False, None, False)
    (reformulation,) = result["reformulations"]
    assert result["queries"] == [reformulation["text"]]
    assert reformulation.keys() == {"text", "score", "model_score", "rank", "tokens", "source"}
    assert reformulation["score"] < 0
    assert (reformulation["rank"], reformulation["source"]) == (1, "model")
    times = body["timings_ms"]
    assert times.keys() == {"queue", "tokenize", "encode", "decode", "total"}
    assert times["total"] >= times["encode"] + times["decode"] > 0
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == reformulation["tokens"]


def test_several_queries(server: Server) -> None:
    """Results keep the order and the ids of the queries."""
    queries = [{"id": str(i), "text": f"how to cook {i} eggs"} for i in range(20)]
    results = post(server, queries=queries, strict=True).json()["results"]
    assert [(r["id"], r["original"]) for r in results] == [(q["id"], q["text"]) for q in queries]
    plain = post(server, queries=["how to cook 3 eggs"], strict=True).json()["results"]
    assert "id" not in plain[0]
    assert plain[0]["queries"] == results[3]["queries"]


def test_max_tokens(server: Server) -> None:
    """max_tokens limits the output."""
    body = post(server, query="what is the best way to learn a language", max_tokens=2).json()
    assert body["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    "query",
    [
        "\U0001f642",
        "\U0001f469\u200d\U0001f4bb \U0001f1e9\U0001f1ea flags",
        "a\x00b\x07c\x1b[31m",
        "\u202ereversed\u202c",
        "</s> <pad> <unk> <extra_id_0>",
        "caf\u00e9 \ufb01n \uff26\uff55\uff4c\uff4c \u4f60\u597d \u0645\u0631\u062d\u0628\u0627",
        "x" * 400,
        "'; DROP TABLE queries; --",
        "\u2581\u2581\u2581a",
        "\ufffd\uffff\U0010ffff",
    ],
)
def test_strange_text_is_text(server: Server, query: str) -> None:
    """Any text has an answer, and the original comes back unchanged."""
    response = post(server, query=query)
    assert response.status_code == 200
    (result,) = response.json()["results"]
    assert result["original"] == query
    assert result["queries"]
    assert_still_working(server)


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b'{"query": ""}', 400, "invalid_request"),
        (b'{"query": "  \\n\\t "}', 400, "invalid_request"),
        (b'{"query": 12}', 400, "invalid_request"),
        (b'{"query": ["a"]}', 400, "invalid_request"),
        (b'{"query": "how to', 400, "invalid_request"),
        (b"", 400, "invalid_request"),
        (b'{"query": "a", "n": 17}', 400, "invalid_request"),
        (b'{"query": "a", "task": "fix", "n": 2, "strategy": "greedy"}', 400, "invalid_request"),
        (
            b'{"query": "a", "task": "fix", "n": 2, "strategy": "greedy", "stream": true}',
            400,
            "invalid_request",
        ),
        (b'{"query": "a", "task": "fix", "n": 3, "num_beams": 2}', 400, "invalid_request"),
        (b'{"query": "a", "num_beams": 3, "num_beam_groups": 2}', 400, "invalid_request"),
        (b'{"query": "a", "strategy": "beam", "temperature": 0.5}', 400, "invalid_request"),
        (b'{"query": "a", "preserve": ["verbs"]}', 400, "invalid_request"),
        (b'{"query": "a", "min_difference": NaN}', 400, "invalid_request"),
        (b'{"query": "a", "cache": 1}', 400, "invalid_request"),
        (b'{"query": " ", "stream": true}', 400, "invalid_request"),
        (b'{"query": "a", "task": "sing"}', 400, "invalid_request"),
        (b'{"query": "a", "timeout_ms": 999999999}', 400, "invalid_request"),
        (json.dumps({"query": "word " * 2000}).encode(), 400, "context_length_exceeded"),
        (json.dumps({"query": "\U0001f642q" * 5000}).encode(), 400, "context_length_exceeded"),
        (
            json.dumps({"query": "word " * 2000, "stream": True}).encode(),
            400,
            "context_length_exceeded",
        ),
        (json.dumps({"queries": ["a"] * 33}).encode(), 400, "invalid_request"),
        (json.dumps({"query": "x" * 1_000_000}).encode(), 413, "request_too_large"),
    ],
)
def test_refusals(server: Server, raw: bytes, status: int, code: str) -> None:
    """Invalid requests are refused as the contract says, and the service continues."""
    with server.client() as client:
        response = client.post("/v1/reformulate", content=raw)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"].keys() == ERROR_KEYS
    assert_still_working(server)


def test_a_long_word_is_short_in_tokens(server: Server) -> None:
    """Inputs are limited in tokens; blanks do not count. Characters are limited far beyond."""
    assert post(server, query="a " + " " * 10_000 + "b").status_code == 200
    refused = post(server, query="word" * 1000)
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert re.search(r"\d+ tokens, at most 512", refused.json()["error"]["message"])
    refused = post(server, query="\u2603" * 5000)
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    # The prefix counts: it is read as well.
    assert re.search(r"50\d\d characters, at most 4096", refused.json()["error"]["message"])


def test_body_is_counted_as_it_arrives(server: Server) -> None:
    """A chunked body without a length is cut off at the limit."""
    host = server.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request(
        "POST",
        "/v1/reformulate",
        body=(b"x" * 100_000 for _ in range(12)),
        encode_chunked=True,
        headers={"transfer-encoding": "chunked"},
    )
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["error"]["code"] == "request_too_large"
    connection.close()


def test_deadline(server: Server) -> None:
    """A deadline of one millisecond passes: the original comes back, or 504 if strict."""
    query = " ".join(["why"] * 400)
    response = post(server, query=query, timeout_ms=1)
    assert response.headers["x-t5serve-fallback"] == "deadline_exceeded"
    (result,) = response.json()["results"]
    assert result["fallback_reason"] == "deadline_exceeded"
    assert result["queries"] == [query]
    assert result["reformulations"][0]["source"] == "original"
    assert post(server, query=query, timeout_ms=1, strict=True).status_code == 504


def test_unknown_paths_and_methods(server: Server) -> None:
    """404 and 405 have the common error body."""
    with server.client() as client:
        missing, wrong = client.get("/v2"), client.get("/v1/reformulate")
    assert (missing.status_code, missing.json()["error"].keys()) == (404, ERROR_KEYS)
    assert (wrong.status_code, wrong.json()["error"].keys()) == (405, ERROR_KEYS)
    assert wrong.headers["allow"] == "POST"


def test_request_id(server: Server) -> None:
    """A valid id of the client comes back, another id is replaced; the time is always sent."""
    with server.client() as client:
        kept = client.get("/healthz", headers={"x-request-id": "abc-1.2_3"})
        replaced = client.get("/v2", headers={"x-request-id": "bad id\t" + "x" * 200})
    assert kept.headers["x-request-id"] == "abc-1.2_3"
    assert re.fullmatch(r"[0-9a-f]{32}", replaced.headers["x-request-id"])
    assert float(replaced.headers["x-processing-ms"]) >= 0


def test_health(server: Server) -> None:
    """The process is alive, and ready with the name of the model."""
    with server.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {
            "status": "ready",
            "model": "tiny-t5",
            "models": {"tiny-t5": {"state": "ready", "reason": None}},
        }
