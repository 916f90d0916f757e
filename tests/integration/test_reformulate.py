"""POST /v1/reformulate and its neighbours over a real socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import time
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.serving import Server, start, stop

ERROR_KEYS = {"message", "type", "param", "code"}
QUERIES = (
    "how do i learn python fast",
    "best running shoes for flat feet 2024",
    "how long does it take to charge an electric car at home with a 7 kW charger",
)
PLAIN: dict[str, Any] = {"strategy": "greedy"}
BEAMS: dict[str, Any] = {"strategy": "beam", "n": 3}
GROUPS: dict[str, Any] = {"strategy": "diverse_beam", "n": 3}
SAMPLES: dict[str, Any] = {"strategy": "sample", "n": 2, "temperature": 2.0, "seed": 1}
ENDLESS: dict[str, Any] = {  # of a random token about none is </s>
    "strategy": "sample",
    "temperature": 100,
    "top_k": 0,
    "max_tokens": 128,
}


def post(server: Server, **body: object) -> httpx.Response:
    with server.client() as client:
        return client.post("/v1/reformulate", json=body)


def answers(server: Server | str, **body: object) -> list[list[str]]:
    """The queries that come of QUERIES."""
    url = server if isinstance(server, str) else server.url
    response = httpx.post(f"{url}/v1/reformulate", json={"queries": QUERIES, **body}, timeout=60)
    assert response.status_code == 200, response.text
    return [result["queries"] for result in response.json()["results"]]


@cache
def base_answers(url: str, body: str) -> list[list[str]]:
    """Likewise, asked for once."""
    return answers(url, **json.loads(body))


Event = tuple[str, Any]


def events_of(response: httpx.Response) -> Iterator[Event]:
    """Server-sent events, each as soon as it is whole."""
    data = b""
    for part in response.iter_raw():
        data += part
        while b"\n\n" in data:
            frame, _, data = data.partition(b"\n\n")
            name, _, content = frame.decode().partition("\n")
            yield name.removeprefix("event: "), json.loads(content.removeprefix("data: "))
    assert not data


def stream(server: Server, **body: object) -> list[Event]:
    """All events of a stream that begins as it should."""
    with (
        server.client() as client,
        client.stream("POST", "/v1/reformulate", json={**body, "stream": True}) as response,
    ):
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(events_of(response))


def told(events: list[Event]) -> dict[tuple[int, int], str]:
    """The concatenated text of each query's ranks."""
    texts: dict[tuple[int, int], str] = {}
    for name, data in events:
        if name == "token":
            assert data.keys() == {"query_index", "rank", "text"}
            place = data["query_index"], data["rank"]
            texts[place] = texts.get(place, "") + data["text"]
    return texts


def named(events: list[Event], name: str) -> list[Any]:
    return [data for other, data in events if other == name]


def rounded(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With scores that do not tell which other sequences were decoded beside."""
    for one in (one for result in results for one in result["reformulations"]):
        one["score"] = None if one["score"] is None else round(one["score"], 2)
    return results


@pytest.fixture(scope="module")
def breakable() -> Iterator[Server]:
    """A service that decodes two sequences at once, for tests that break it."""
    running = start(max_batch="2", threads="1", timeout_ms="60000")
    running.wait_until_ready()
    yield running
    stop(running)


@pytest.fixture
def victim(breakable: Server) -> Server:
    """It, ready."""
    breakable.wait_until_ready()
    return breakable


def assert_still_working(server: Server) -> None:
    assert post(server, query="how do i learn python fast", strict=True).status_code == 200


def test_answer_has_the_contract_s_shape(server: Server) -> None:
    """Every key of the contract, with figures that belong together."""
    response = post(server, query="how do i learn python fast", strict=True)
    assert response.status_code == 200
    body = response.json()
    assert body.keys() == {"id", "model", "created", "results", "timings_ms", "usage"}
    (result,) = body["results"]
    assert result["original"] == "how do i learn python fast"
    assert (result["fallback"], result["fallback_reason"], result["cached"]) == (False, None, False)
    (one,) = result["reformulations"]
    assert result["queries"] == [one["text"]]
    assert one.keys() == {"text", "score", "rank", "tokens", "source"}
    assert one["score"] < 0
    assert (one["rank"], one["source"]) == (1, "model")
    times = body["timings_ms"]
    assert times.keys() == {"queue", "tokenize", "encode", "decode", "total"}
    assert times["total"] >= times["encode"] + times["decode"] > 0
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == one["tokens"]


def test_several_queries(server: Server) -> None:
    """Results keep the order and the ids of the queries."""
    queries = [{"id": str(i), "text": f"how to cook {i} eggs"} for i in range(20)]
    results = post(server, queries=queries, strict=True).json()["results"]
    assert [(r["id"], r["original"]) for r in results] == [(q["id"], q["text"]) for q in queries]
    plain = post(server, queries=["how to cook 3 eggs"], strict=True).json()["results"]
    assert "id" not in plain[0]
    assert plain[0]["queries"] == results[3]["queries"]


def test_max_tokens(server: Server) -> None:
    """The limit on the output holds."""
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
    """Whatever a client types has an answer, and the original comes back unchanged."""
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
        (b'{"query": "a", "n": 2, "strategy": "greedy"}', 400, "invalid_request"),
        (b'{"query": "a", "n": 2, "strategy": "greedy", "stream": true}', 400, "invalid_request"),
        (b'{"query": "a", "n": 3, "num_beams": 2}', 400, "invalid_request"),
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
    """What can't be taken is refused as the contract says, and the service goes on."""
    with server.client() as client:
        response = client.post("/v1/reformulate", content=raw)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"].keys() == ERROR_KEYS
    assert_still_working(server)


def test_a_long_word_is_short_in_tokens(server: Server) -> None:
    """Blanks count for nothing; words by their tokens, and by their number only far beyond."""
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
    """One millisecond is too short: the original comes back, or 504 when strict."""
    query = " ".join(["why"] * 400)
    (result,) = post(server, query=query, timeout_ms=1).json()["results"]
    assert result["fallback_reason"] == "deadline_exceeded"
    assert result["queries"] == [query]
    assert result["reformulations"][0]["source"] == "original"
    assert post(server, query=query, timeout_ms=1, strict=True).status_code == 504


def test_unknown_paths_and_methods(server: Server) -> None:
    """404 and 405 have the one error shape."""
    with server.client() as client:
        missing, wrong = client.get("/v2"), client.get("/v1/reformulate")
    assert (missing.status_code, missing.json()["error"].keys()) == (404, ERROR_KEYS)
    assert (wrong.status_code, wrong.json()["error"].keys()) == (405, ERROR_KEYS)
    assert wrong.headers["allow"] == "POST"


def test_request_id(server: Server) -> None:
    """A sane id of the caller's comes back, any other is replaced; time is always told."""
    with server.client() as client:
        kept = client.get("/healthz", headers={"x-request-id": "abc-1.2_3"})
        replaced = client.get("/v2", headers={"x-request-id": "bad id\t" + "x" * 200})
    assert kept.headers["x-request-id"] == "abc-1.2_3"
    assert re.fullmatch(r"[0-9a-f]{32}", replaced.headers["x-request-id"])
    assert float(replaced.headers["x-processing-ms"]) >= 0


def test_health(server: Server) -> None:
    """Alive, and ready with the model's name."""
    with server.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready", "model": "tiny-t5"}


@pytest.mark.parametrize(
    ("body", "least", "most"),
    [
        ({}, 1, 1),
        ({"strategy": "greedy"}, 1, 1),
        ({"strategy": "beam"}, 1, 1),
        ({"strategy": "diverse_beam"}, 1, 1),
        ({"strategy": "sample", "seed": 1}, 1, 1),
        ({"n": 4}, 2, 4),
        ({"strategy": "beam", "n": 4}, 2, 4),
        ({"strategy": "diverse_beam", "n": 4}, 2, 4),
        ({"strategy": "sample", "n": 4, "seed": 1, "temperature": 1.5}, 2, 4),
        # Of the 20 beams that there can be most differ in their capitals only.
        ({"strategy": "beam", "n": 16, "max_tokens": 8}, 4, 16),
    ],
)
def test_every_strategy(server: Server, body: dict[str, Any], least: int, most: int) -> None:
    """At most as many as were asked for, all different, with scores and ranks."""
    response = post(server, query=QUERIES[0], strict=True, **body)
    assert response.status_code == 200
    (result,) = response.json()["results"]
    queries = result["queries"]
    assert least <= len(queries) <= most
    assert len({unicodedata.normalize("NFKC", query).casefold() for query in queries}) == len(
        queries
    )
    assert [one["text"] for one in result["reformulations"]] == queries
    assert [one["rank"] for one in result["reformulations"]] == list(range(1, len(queries) + 1))
    assert all(one["score"] < 0 for one in result["reformulations"])
    assert most == 1 or QUERIES[0] not in queries
    # Those that were not chosen have cost something as well.
    usage = response.json()["usage"]
    assert usage["completion_tokens"] >= sum(one["tokens"] for one in result["reformulations"])


@pytest.mark.parametrize(
    ("base", "given"),
    [
        (PLAIN, {"max_tokens": 3}),
        (PLAIN, {"repetition_penalty": 5.0}),
        (PLAIN, {"no_repeat_ngram_size": 1}),
        (BEAMS, {"n": 2}),
        (BEAMS, {"num_beams": 3}),
        (BEAMS, {"length_penalty": 5.0}),
        (GROUPS, {"num_beam_groups": 2}),
        (GROUPS, {"diversity_penalty": 5.0}),
        (GROUPS, {"num_beams": 6}),
        (SAMPLES, {"seed": 2}),
        (SAMPLES, {"temperature": 0.5}),
        (SAMPLES, {"top_k": 2}),
        (SAMPLES, {"top_p": 0.5}),
        (SAMPLES, {"min_p": 0.5}),
        (SAMPLES, {"typical_p": 0.2}),
        (BEAMS, {"strategy": "diverse_beam"}),
        (BEAMS, {"include_original": True}),
        (SAMPLES, {"preserve": ["numbers", "capitalised"]}),
        (BEAMS, {"min_difference": 0.3}),
    ],
)
def test_every_parameter_has_an_effect(
    server: Server, base: dict[str, Any], given: dict[str, Any]
) -> None:
    """None is accepted and ignored."""
    assert base_answers(server.url, json.dumps(base)) != answers(server, **{**base, **given})


def test_auto(server: Server) -> None:
    """Greedy for one, diverse beams for several, sampling for who asks for a temperature."""
    assert answers(server) == answers(server, strategy="greedy")
    assert answers(server, n=3) == answers(server, strategy="diverse_beam", n=3)
    sampled = answers(server, **{**SAMPLES, "strategy": "auto"})
    assert sampled == answers(server, **SAMPLES)


def test_seed(server: Server) -> None:
    """The same seed gives the same, alone or among others; without one it is always another."""
    body = {**SAMPLES, "strict": True}
    first, *_ = answers(server, **body)
    again, *_ = answers(server, **body)
    (alone,) = post(server, query=QUERIES[0], **body).json()["results"]
    assert first == again == alone["queries"]
    wild = {"strategy": "sample", "temperature": 3.0}
    assert answers(server, **wild) != answers(server, **wild)


def test_temperature_zero_is_greedy(server: Server) -> None:
    """Sampling without chance."""
    sampled = answers(server, strategy="sample", temperature=0)
    assert sampled == answers(server, strategy="greedy")


def test_include_original(server: Server) -> None:
    """It comes first, beside the n."""
    response = post(server, queries=QUERIES, include_original=True, strict=True, **BEAMS)
    for query, result in zip(QUERIES, response.json()["results"], strict=True):
        first, *others = result["reformulations"]
        assert first == {"text": query, "score": None, "rank": 1, "tokens": 0, "source": "original"}
        assert 1 <= len(others) <= 3
        assert {one["source"] for one in others} == {"model"}
        assert query not in [one["text"] for one in others]
        assert (result["fallback"], result["queries"][0]) == (False, query)


def test_preserve(server: Server) -> None:
    """Without it this model loses a number; with it the next best are taken."""
    query = "iPhone 13 vs iPhone 14 camera"
    asked: dict[str, Any] = {"queries": [query], "strategy": "beam", "n": 4}
    (plain,) = answers(server, **asked)
    (kept,) = answers(server, preserve=["numbers", "quoted", "capitalised"], **asked)
    assert any("13" not in text for text in plain)
    assert kept != [query]
    assert all("13" in text and "14" in text and "iPhone" in text for text in kept)


def test_min_difference(server: Server) -> None:
    """All or nothing: what has not one word in common, which a mended query never has."""
    body = {"task": "fix", "strategy": "greedy", "min_difference": 1.0}
    for result in post(server, queries=QUERIES, **body).json()["results"]:
        assert (result["fallback"], result["fallback_reason"]) == (True, "no_usable_output")
        assert result["queries"] == [result["original"]]
    refused = post(server, queries=QUERIES, strict=True, **body)
    assert refused.status_code == 500
    assert refused.json()["error"]["code"] == "no_usable_output"


def test_task(server: Server) -> None:
    """The one that the model has can be named."""
    assert answers(server, task="paraphrase") == answers(server)


def test_cache_changes_nothing_yet(server: Server) -> None:
    """It may be asked for or not; nothing is cached so far."""
    for wanted in (True, False):
        (result,) = post(server, query=QUERIES[0], cache=wanted).json()["results"]
        assert result["cached"] is False


@pytest.mark.parametrize(
    "body",
    [
        {"query": QUERIES[0]},
        {"query": QUERIES[0], **BEAMS},
        {"query": QUERIES[0], **SAMPLES, "n": 1},
        {"query": QUERIES[0], "strategy": "greedy", "min_difference": 1.0},
        {"query": "\u4f60\u597d \U0001f642"},
        {"queries": QUERIES},
        {"queries": [{"id": f"q{i}", "text": query} for i, query in enumerate(QUERIES)], **SAMPLES},
        {"queries": QUERIES, **GROUPS, "include_original": True, "preserve": ["numbers"]},
    ],
)
def test_a_stream_s_results_are_the_answer_s(server: Server, body: dict[str, Any]) -> None:
    """Tokens add up to the texts, results come in order, `done` has the rest: nothing is lost."""
    events = stream(server, **body)
    answer = post(server, **body).json()
    results = named(events, "result")
    texts = told(events)
    for index, result in enumerate(results):
        if not result["fallback"]:
            for one in result["reformulations"]:
                assert texts.pop((index, one["rank"])) == one["text"]
    assert not texts
    assert rounded(results) == rounded(answer.pop("results"))
    name, done = events[-1]
    assert name == "done"
    assert done.keys() == answer.keys()
    assert done["usage"] == answer["usage"]
    assert done["model"] == answer["model"]
    assert {name for name, _ in events} <= {"token", "result", "done"}
    assert len(named(events, "done")) == 1


def test_one_text_is_told_in_pieces(server: Server) -> None:
    """Greedy decoding is told as it goes, not in one go."""
    tokens = named(stream(server, query=QUERIES[2]), "token")
    assert len(tokens) > 5
    assert all(token["text"] for token in tokens)


def test_an_error_after_some_text_is_an_event(server: Server) -> None:
    """A text that turns out to be a loop, strictly, ends the stream; else the original counts."""
    loop = {"query": QUERIES[0], "repetition_penalty": 0.1, "max_tokens": 20}
    events = stream(server, strict=True, **loop)
    assert told(events)
    assert [name for name, _ in events if name != "token"] == ["error"]
    name, data = events[-1]
    assert name == "error"
    assert data["error"].keys() == ERROR_KEYS
    assert data["error"]["code"] == "no_usable_output"
    events = stream(server, **loop)
    assert told(events)
    (result,) = named(events, "result")
    assert (result["queries"], result["fallback_reason"]) == ([QUERIES[0]], "no_usable_output")
    assert events[-1][0] == "done"


def broken(server: Server, sign: signal.Signals, **body: object) -> list[Event]:
    """A stream whose worker gets a signal after the first token."""
    with (
        server.client() as client,
        client.stream("POST", "/v1/reformulate", json={**body, "stream": True}) as response,
    ):
        events = events_of(response)
        first = next(events)
        (worker,) = server.workers()
        os.kill(worker, sign)
        try:
            return [first, *events]
        finally:
            if sign == signal.SIGSTOP:
                os.kill(worker, signal.SIGCONT)


def test_a_worker_killed_mid_stream(victim: Server) -> None:
    """What was begun falls back, what had not is decoded by the next worker."""
    events = broken(victim, signal.SIGKILL, queries=[*QUERIES, "a"], **ENDLESS)
    results = named(events, "result")
    assert [result["original"] for result in results] == [*QUERIES, "a"]
    reasons = [result["fallback_reason"] for result in results]
    assert "server_error" in reasons
    assert reasons[-1] is None
    for result in results:
        if result["fallback"]:
            assert result["queries"] == [result["original"]]
    assert events[-1][0] == "done"


def test_a_worker_killed_mid_stream_strictly(victim: Server) -> None:
    """An error ends the stream in place of `done`, and the next request is answered."""
    events = broken(victim, signal.SIGKILL, queries=QUERIES, strict=True, **ENDLESS)
    name, data = events[-1]
    assert name == "error"
    assert data["error"].keys() == ERROR_KEYS
    assert data["error"]["type"] == "server_error"
    assert not named(events, "done")
    victim.wait_until_ready()
    assert_still_working(victim)


@pytest.mark.parametrize("strict", [False, True])
def test_a_deadline_mid_stream(victim: Server, strict: bool) -> None:  # noqa: FBT001
    """A stream ends when its time is over, whatever the worker does."""
    body = {**ENDLESS, "timeout_ms": 2000, "strict": strict}
    events = broken(victim, signal.SIGSTOP, query=QUERIES[0], **body)
    name, data = events[-1]
    if strict:
        assert (name, data["error"]["code"]) == ("error", "deadline_exceeded")
    else:
        (result,) = named(events, "result")
        assert result["fallback_reason"] == "deadline_exceeded"
        assert name == "done"
    assert told(events)
    assert_still_working(victim)


def test_a_client_that_leaves_mid_stream_frees_the_worker(victim: Server) -> None:
    """Fifteen times two endless sequences are cut short: the next request does not wait."""
    (worker,) = victim.workers()
    texts = [f"question number {i}" for i in range(30)]
    with (
        victim.client() as client,
        client.stream(
            "POST", "/v1/reformulate", json={"queries": texts, **ENDLESS, "stream": True}
        ) as response,
    ):
        assert next(events_of(response))[0] == "token"
    answer = post(victim, query=QUERIES[0], strict=True)
    assert answer.status_code == 200
    assert answer.json()["timings_ms"]["queue"] < 1000
    time.sleep(0.2)

    def ticks() -> int:
        fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(0.5)
    assert ticks() - before <= 5  # hundredths of a second


def test_clients_that_leave_at_any_time_break_nothing(victim: Server) -> None:
    """Before the first event, between two, in the middle of one: the service goes on."""
    for seconds in (0.001, 0.01, 0.05, 0.1, 0.2):
        with victim.client() as client, contextlib.suppress(httpx.TimeoutException):
            body = {"queries": QUERIES, **ENDLESS, "stream": True}
            client.post("/v1/reformulate", json=body, timeout=seconds)
    assert_still_working(victim)
