"""Client and AsyncClient: the service's answers, retries, deadlines and the query itself."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import msgspec
import pytest

from support.forking import in_fork
from support.scripted_service import Answer, error, serve
from support.serving import Server, free_port, start, stop
from t5serve import AsyncClient, Client, Result
from t5serve.client.answers import read_error
from t5serve.client.retries import retry_after
from t5serve.errors import (
    ERROR_RESPONSES,
    DeadlineExceeded,
    InputQuarantined,
    InvalidRequest,
    NotReady,
    QueueFull,
    RateLimited,
    RequestError,
    ServerFault,
    Unauthorized,
    error_body,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

QUERIES = ["how do i clean a laptop screen", "what is a black hole", "ls -la | grep foo"]


def test_results_are_those_of_the_service(server: Server) -> None:
    """Every field of every result is as the service sends it, with options and without."""
    with Client(server.url) as client, server.client() as http:
        for options in ({}, {"task": "paraphrase", "n": 3, "preserve": ["numbers"]}):
            body = http.post("/v1/reformulate", json={"queries": QUERIES, **options}).json()
            sent = [msgspec.convert({**one, "cached": False}, Result) for one in body["results"]]
            got = client.reformulate(QUERIES, **options)  # type: ignore[arg-type]
            assert [msgspec.structs.replace(one, cached=False) for one in got] == sent


def test_more_queries_than_a_request_takes(server: Server) -> None:
    """Any number of queries comes back in order; none is left alone."""
    queries = [f"how do i cook {number} eggs" for number in range(70)]
    with Client(server.url) as client:
        results = client.reformulate(queries, strategy="greedy")
    assert [result.original for result in results] == queries
    assert not any(result.fallback for result in results)


def test_asynchronously(server: Server) -> None:
    """One client answers calls at once, and calls of another event loop later."""
    client = AsyncClient(server.url)

    async def run() -> list[list[Result]]:
        async with client:
            return await asyncio.gather(*(client.reformulate(query) for query in QUERIES))

    first = asyncio.run(run())
    assert [results[0].original for results in first] == QUERIES
    assert [one[0].queries for one in asyncio.run(run())] == [one[0].queries for one in first]


def test_threads_and_forks_share_it(server: Server) -> None:
    """Calls from threads and from a forked process get the answers that they get alone."""
    with Client(server.url) as client:
        alone = [client.reformulate(query)[0].queries for query in QUERIES]
        with ThreadPoolExecutor(3) as threads:
            found = threads.map(lambda query: client.reformulate(query)[0].queries, QUERIES)
        assert list(found) == alone
        assert in_fork(lambda: client.reformulate(QUERIES[0])[0].queries) == alone[0]
        assert client.reformulate(QUERIES[0])[0].queries == alone[0]


def test_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is the caller's or the environment's; without a key the service's error is raised."""
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    running = start(api_keys_file=str(keys))
    running.wait_until_ready()
    with Client(running.url, api_key="secret") as client:
        assert client.reformulate("a dog")[0].original == "a dog"
    with Client(running.url) as client, pytest.raises(Unauthorized):
        client.reformulate("a dog")
    monkeypatch.setenv("T5SERVE_API_KEY", "secret")
    with Client(running.url) as client:
        assert client.reformulate("a dog")[0].original == "a dog"
    stop(running)


def test_refusals_are_the_service_s(server: Server) -> None:
    """An invalid query or option is the error that the service raised."""
    with Client(server.url) as client:
        with pytest.raises(InvalidRequest, match="blank") as raised:
            client.reformulate(["a dog", " "])
        assert raised.value.param == "queries[1].text"
        with pytest.raises(InvalidRequest, match="no task 'translate'"):
            client.reformulate("a dog", task="translate")


def test_retry_after_is_honoured() -> None:
    """A refused request is sent again when Retry-After has passed, and not sooner."""
    refusal = error(429, "rate_limited", retry_after="1")
    with serve(refusal, error(503, "not_ready", retry_after="1")) as service:
        with Client(service.url) as client:
            (result,) = client.reformulate("a dog")
        assert result.queries == ["A DOG"]
        times = [request["at"] for request in service.requests]
        assert len(times) == 3
        assert times[1] - times[0] >= 1
        assert times[2] - times[1] >= 1


def test_retry_after_can_be_a_date() -> None:
    """Retry-After has seconds or a date of RFC 9110; anything else is no advice."""
    later = datetime.now(UTC) + timedelta(seconds=100)
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after": format_datetime(later, usegmt=True)}) == pytest.approx(
        99, abs=30
    )
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert [retry_after({"retry-after": text}) for text in ("", "soon", "-1", "1.5")] == [None] * 4
    assert retry_after({}) is None


def test_no_wait_beyond_the_deadline() -> None:
    """Where Retry-After is later than the deadline, the query falls back at once."""
    with serve(error(429, "rate_limited", retry_after="60")) as service:
        with Client(service.url) as client:
            (result,) = client.reformulate("a dog", timeout_ms=5000)
        assert (result.queries, result.fallback_reason) == (["a dog"], "rate_limited")
        assert len(service.requests) == 1


def test_a_deadline_holds_against_a_service_that_hangs() -> None:
    """The service gets a shorter deadline than the caller's, and is not waited for any longer."""
    with serve(*[Answer(hangs_seconds=1.0)] * 2) as service, Client(service.url) as client:
        (result,) = client.reformulate("a dog", timeout_ms=200)
        assert result.fallback_reason == "deadline_exceeded"
        assert service.requests[0]["timeout_ms"] <= 180
        with pytest.raises(DeadlineExceeded, match="did not answer in time"):
            client.reformulate("a dog", timeout_ms=200, strict=True)


def test_without_a_deadline_the_service_s_counts() -> None:
    """A caller without a deadline sends none: the service refuses one that is beyond its own."""
    with serve() as service:
        with Client(service.url) as client:
            client.reformulate("a dog")
        with Client(service.url, timeout_ms=1000, model="m") as client:
            client.reformulate("a dog")
        assert "timeout_ms" not in service.requests[0]
        assert "model" not in service.requests[0]
        assert service.requests[1]["timeout_ms"] <= 900
        assert service.requests[1]["model"] == "m"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (error(504, "deadline_exceeded", x_should_retry="false"), "deadline_exceeded"),
        (error(422, "input_quarantined", x_should_retry="false"), "input_quarantined"),
        (error(500, None), "server_error"),
        (Answer(504, {}, b"<html>gateway timeout</html>"), "deadline_exceeded"),
        (Answer(200, {}, b"<html>hello</html>"), "server_error"),
        (Answer(200, {}, b'{"results": []}'), "server_error"),
    ],
)
def test_what_a_retry_does_not_mend_falls_back(answer: Answer, reason: str) -> None:
    """Such an answer is taken as it is: the query falls back, and is not sent again."""
    with serve(answer) as service:
        with Client(service.url) as client:
            (result,) = client.reformulate("a dog")
        assert (result.queries, result.fallback, result.fallback_reason) == (
            ["a dog"],
            True,
            reason,
        )
        assert len(service.requests) == 1


def test_a_broken_connection_is_tried_again() -> None:
    """A connection that the service or a proxy closes costs an attempt, not the answer."""
    with serve(Answer(closes=True), Answer(502, {}, b"bad gateway")) as service:
        with Client(service.url) as client:
            assert client.reformulate("a dog")[0].queries == ["A DOG"]
        assert len(service.requests) == 3


def test_a_service_that_is_not_there() -> None:
    """The query falls back; strict, the error names the address."""
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, retries=1) as client:
        (result,) = client.reformulate("a dog")
        assert (result.queries, result.fallback_reason) == (["a dog"], "not_ready")
        with pytest.raises(NotReady, match=f"{url} can't be reached"):
            client.reformulate("a dog", strict=True)


@pytest.mark.parametrize("kind", list(ERROR_RESPONSES))
def test_errors_come_back_as_they_were_raised(kind: type[RequestError]) -> None:
    """The client raises the class that the service raised, wherever its code says which."""
    content = msgspec.json.encode(error_body(kind("what happened", param="n")))
    found = read_error(ERROR_RESPONSES[kind].status, content)
    assert ERROR_RESPONSES[type(found)][:3] == ERROR_RESPONSES[kind][:3]
    assert (found.message, found.param) == ("what happened", "n")


def test_errors_of_proxies_have_the_class_of_their_status() -> None:
    """An answer that is not the service's is judged by its status."""
    kinds = {429: QueueFull, 502: NotReady, 503: NotReady, 404: RequestError, 500: ServerFault}
    for status, kind in kinds.items():
        assert isinstance(read_error(status, b"<html>"), kind)
    assert not isinstance(read_error(429, b""), RateLimited)
    assert not isinstance(read_error(422, b""), ServerFault)
    assert isinstance(read_error(422, b""), InputQuarantined | InvalidRequest)
