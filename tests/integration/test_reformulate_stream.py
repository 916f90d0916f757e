"""Streams of POST /v1/reformulate over a real socket, with failures of worker and client."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.reformulate_client import (
    ERROR_KEYS,
    QUERIES,
    UNGUARDED,
    Event,
    assert_still_working,
    concatenate_tokens,
    events_of,
    post,
    select_events,
    stream,
)
from support.serving import Server, start, stop

BEAMS: dict[str, Any] = {"strategy": "beam", "n": 3}
GROUPS: dict[str, Any] = {"strategy": "diverse_beam", "n": 3}
SAMPLES: dict[str, Any] = {"strategy": "sample", "n": 2, "temperature": 2.0, "seed": 1}
TRIES = 5
ENDLESS: dict[str, Any] = {  # almost no random token is </s>
    "strategy": "sample",
    "temperature": 100,
    "top_k": 0,
    "max_tokens": 128,
}


def rounded(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rounds scores: they vary slightly with the other sequences in a batch."""
    for reformulation in (r for result in results for r in result["reformulations"]):
        for name in ("score", "model_score"):
            if reformulation[name] is not None:
                reformulation[name] = round(reformulation[name], 2)
    return results


@pytest.fixture(scope="module")
def breakable() -> Iterator[Server]:
    """A service that decodes two sequences at once, for tests that break it."""
    running = start(max_batch="2", threads="1", timeout_ms="60000", stall_seconds="60")
    running.wait_until_ready()
    yield running
    stop(running)


@pytest.fixture
def victim(breakable: Server) -> Server:
    """The same service, ready."""
    breakable.wait_until_ready()
    return breakable


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
    """Tokens add up to the texts, results are ordered, and `done` has the remaining fields."""
    events = stream(server, **body)
    answer = post(server, **body).json()
    results = select_events(events, "result")
    texts = concatenate_tokens(events)
    for index, result in enumerate(results):
        if result["fallback"]:  # what was told has been dropped
            texts = {key: text for key, text in texts.items() if key[0] != index}
        else:
            for reformulation in result["reformulations"]:
                assert texts.pop((index, reformulation["rank"])) == reformulation["text"]
    assert not texts
    assert rounded(results) == rounded(answer.pop("results"))
    name, done = events[-1]
    assert name == "done"
    assert done.keys() == answer.keys()
    assert done["usage"] == answer["usage"]
    assert done["model"] == answer["model"]
    assert {name for name, _ in events} <= {"token", "result", "done"}
    assert len(select_events(events, "done")) == 1


def test_one_text_is_told_in_pieces(server: Server) -> None:
    """Greedy decoding emits several tokens."""
    tokens = select_events(stream(server, query=QUERIES[2]), "token")
    assert len(tokens) > 5
    assert all(token["text"] for token in tokens)


def test_an_error_after_some_text_is_an_event(server: Server) -> None:
    """A text that becomes a loop ends the stream with an error if strict, else it falls back."""
    loop = {"query": QUERIES[0], "repetition_penalty": 0.1, "max_tokens": 20}
    events = stream(server, strict=True, **loop)
    assert concatenate_tokens(events)
    assert [name for name, _ in events if name != "token"] == ["error"]
    name, data = events[-1]
    assert name == "error"
    assert data["error"].keys() == ERROR_KEYS
    assert data["error"]["code"] == "no_usable_output"
    events = stream(server, **loop)
    assert concatenate_tokens(events)
    (result,) = select_events(events, "result")
    assert (result["queries"], result["fallback_reason"]) == ([QUERIES[0]], "no_usable_output")
    assert events[-1][0] == "done"


def broken(server: Server, sign: signal.Signals, **body: object) -> list[Event]:
    """Returns the events of a stream whose worker gets a signal after the first token."""
    with (
        server.client() as client,
        client.stream(
            "POST", "/v1/reformulate", json={**UNGUARDED, **body, "stream": True}
        ) as response,
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
    """Queries with progress fall back; the next worker decodes the others."""
    events = broken(victim, signal.SIGKILL, queries=[*QUERIES, "a"], **ENDLESS)
    results = select_events(events, "result")
    assert [result["original"] for result in results] == [*QUERIES, "a"]
    reasons = [result["fallback_reason"] for result in results]
    assert "server_error" in reasons
    assert reasons[-1] is None
    for result in results:
        if result["fallback"]:
            assert result["queries"] == [result["original"]]
    assert events[-1][0] == "done"


def test_a_worker_killed_mid_stream_strictly(victim: Server) -> None:
    """An error ends the stream instead of `done`, and the next request is answered."""
    events = broken(victim, signal.SIGKILL, queries=QUERIES, strict=True, **ENDLESS)
    name, data = events[-1]
    assert name == "error"
    assert data["error"].keys() == ERROR_KEYS
    assert data["error"]["type"] == "server_error"
    assert not select_events(events, "done")
    victim.wait_until_ready()
    assert_still_working(victim)


@pytest.mark.parametrize("strict", [False, True])
def test_a_deadline_mid_stream(victim: Server, strict: bool) -> None:  # noqa: FBT001
    """A stream ends at its deadline, whatever the worker does."""
    body = {**ENDLESS, "timeout_ms": 2000, "strict": strict}
    for _ in range(TRIES):  # the worker may be done before it is stopped
        events = broken(victim, signal.SIGSTOP, query=QUERIES[0], **body)
        reasons = [result["fallback_reason"] for result in select_events(events, "result")]
        if reasons != [None]:
            break
    name, data = events[-1]
    if strict:
        assert (name, data["error"]["code"]) == ("error", "deadline_exceeded")
    else:
        assert reasons == ["deadline_exceeded"]
        assert name == "done"
    assert concatenate_tokens(events)
    assert_still_working(victim)


def test_a_client_that_leaves_mid_stream_frees_the_worker(victim: Server) -> None:
    """Thirty endless sequences are cancelled, and the next request does not wait."""
    (worker,) = victim.workers()
    texts = [f"question number {i}" for i in range(30)]
    with (
        victim.client() as client,
        client.stream(
            "POST",
            "/v1/reformulate",
            json={"queries": texts, **UNGUARDED, **ENDLESS, "stream": True},
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
    """A client can leave at any time, and the service continues."""
    for seconds in (0.001, 0.01, 0.05, 0.1, 0.2):
        with victim.client() as client, contextlib.suppress(httpx.TimeoutException):
            body = {"queries": QUERIES, **ENDLESS, "stream": True}
            client.post("/v1/reformulate", json={**UNGUARDED, **body}, timeout=seconds)
    assert_still_working(victim)
