"""Answers to requests that are refused before the application sees them, over real sockets."""

from __future__ import annotations

import functools
import itertools
import json
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.overloading import busy, standing_still, wait_for
from support.raw import RawConnection
from support.serving import Server, start, stop

QUERY = "how do i learn python"
post = functools.partial(httpx.post, timeout=60)
PLAIN = {"query": QUERY, "task": "paraphrase"}
TINY: dict[str, str] = {"max_batch": "1", "max_queue": "1", "max_queries": "1", "threads": "1"}
EARLY = "requests refused early"


@contextmanager
def overloaded(server: Server, keys: Sequence[str] = ()) -> Iterator[list[Future[httpx.Response]]]:
    """Meanwhile a job runs and another waits, and neither goes on.

    Args:
        server: the service, which takes one job and has a queue of one.
        keys: keys to use in turn, so that none exceeds its rate.
    """
    turns = itertools.cycle([{"authorization": f"Bearer {key}"} for key in keys] or [{}])

    def ask() -> httpx.Response:
        body = {**PLAIN, "strict": True}
        return post(f"{server.url}/v1/reformulate", json=body, headers=next(turns))

    wait_for(lambda: busy(server, next(turns)) == (0, 0))
    with ThreadPoolExecutor(2) as pool, standing_still(server):
        accepted = [pool.submit(ask) for _ in range(2)]
        wait_for(lambda: busy(server, next(turns)) == (1, 1))
        yield accepted


@pytest.fixture(scope="module")
def tiny() -> Iterator[Server]:
    """A service that decodes one input at a time while one may wait."""
    running = start(**TINY, timeout_ms="60000", stall_seconds="60", head_seconds="1")
    running.wait_until_ready()
    yield running
    log = stop(running)
    assert "Traceback" not in log
    assert EARLY in log


def request(body: dict[str, Any], fields: bytes = b"") -> bytes:
    content = json.dumps(body).encode()
    head = b"POST /v1/reformulate HTTP/1.1\r\nhost: localhost\r\n" + fields
    return head + b"content-length: %d\r\n\r\n%s" % (len(content), content)


def shape(answer: dict[str, Any]) -> dict[str, Any]:
    """Returns an answer without what differs between any two."""
    timings = dict.fromkeys(answer["timings_ms"], 0)
    return {**answer, "id": len(answer["id"]), "created": 0, "timings_ms": timings}


def test_an_early_answer_is_the_applications(tiny: Server) -> None:
    """A plain request has the same answer as one with a field that the application reads."""
    url = f"{tiny.url}/v1/reformulate"
    with overloaded(tiny):
        early = post(url, json=PLAIN, headers={"x-request-id": "early"})
        late = post(url, json={**PLAIN, "n": 1}, headers={"x-request-id": "late"})
        assert early.status_code == late.status_code == 200
        assert shape(early.json()) == shape(late.json())
        assert early.json()["results"][0]["fallback_reason"] == "queue_full"
        assert early.headers.keys() == late.headers.keys()
        assert early.headers["x-request-id"] == "early"
        assert early.headers["x-t5serve-fallback"] == "queue_full"
        strict = post(url, json={**PLAIN, "strict": True})
        other = post(url, json={**PLAIN, "strict": True, "n": 1})
        assert strict.status_code == other.status_code == 429
        assert strict.json()["error"]["code"] == other.json()["error"]["code"] == "queue_full"
        assert strict.json()["error"].keys() == other.json()["error"].keys()
        assert strict.headers.keys() == other.headers.keys()
        assert int(strict.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"query": ""}, 400),
        ({"query": "\u200b"}, 400),
        ({"query": QUERY, "timeout_ms": 0}, 400),
        ({"query": QUERY, "timeout_ms": 600_001}, 400),
        ({"query": QUERY, "timeout_ms": True}, 400),
        ({"query": QUERY, "task": "no such task"}, 400),
        ({"query": QUERY, "nonsense": 1}, 400),
        ({"query": 1}, 400),
        ({"query": "caf\u00e9 in berlin"}, 200),
        ({"query": 'say "hello" \\ <b>'}, 200),
        ({"query": "a", "timeout_ms": 1}, 200),
    ],
)
def test_what_is_wrong_stays_wrong(tiny: Server, body: dict[str, Any], status: int) -> None:
    """Under overload a request that is invalid is refused as such, and a query comes back whole."""
    with overloaded(tiny):
        answer = post(f"{tiny.url}/v1/reformulate", json=body)
    assert answer.status_code == status
    if status == 200:
        (result,) = answer.json()["results"]
        assert result["queries"] == [result["original"]] == [body["query"]]


@pytest.mark.parametrize("cut", ["whole", "head", "bytes"])
def test_requests_one_behind_another(tiny: Server, cut: str) -> None:
    """Early answers come in the order of their requests, between those of the application."""
    bodies: list[dict[str, Any]] = [PLAIN, {**PLAIN, "n": 1}, PLAIN, {"query": ""}] * 2
    offer = b"connection: upgrade\r\nupgrade: h2c\r\n"
    data = b"".join(
        request(body, b"x-request-id: %d\r\n" % index + (offer if index > 3 else b""))
        for index, body in enumerate(bodies)
    )
    size = {"whole": len(data), "head": 71, "bytes": 1}[cut]
    with overloaded(tiny), RawConnection(tiny) as connection:
        for begin in range(0, len(data), size):
            connection.send(data[begin : begin + size])
        answers = [connection.receive() for _ in bodies]
        connection.send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert connection.receive().body == b'{"status":"ok"}'
    assert [answer.status for answer in answers] == [200, 200, 200, 400] * 2
    assert [answer.headers["x-request-id"] for answer in answers] == [*map(str, range(8))]


def test_a_body_that_does_not_come(tiny: Server) -> None:
    """A request that is kept for an early answer is bounded in time as well."""
    with overloaded(tiny), RawConnection(tiny) as connection:
        connection.send(request(PLAIN)[:-1])
        answer = connection.receive()
        assert (answer.status, connection.rest()) == (408, b"")


def test_a_client_that_leaves(tiny: Server) -> None:
    """Clients that leave before their delayed answer do no harm."""
    with overloaded(tiny):
        for _ in range(100):
            with RawConnection(tiny) as connection:
                connection.send(request(PLAIN))
        assert post(f"{tiny.url}/v1/reformulate", json=PLAIN).status_code == 200


def test_only_those_who_may(tmp_path: Path) -> None:
    """Keys, rates and names of the Host are checked before an early answer."""
    others = [f"other{number}" for number in range(1000)]
    keys = tmp_path / "keys"
    keys.write_text("\n".join(["right", *others]))
    server = start(
        **TINY,
        api_keys_file=str(keys),
        rate_limit="6/hour",
        allowed_hosts="localhost,127.0.0.1",
        stall_seconds="60",
        timeout_ms="60000",
    )
    server.wait_until_ready()

    def ask(key: str, host: str = "localhost", **fields: Any) -> tuple[int, str]:
        headers = {"authorization": f"Bearer {key}", "host": host}
        body = {**PLAIN, **fields}
        answer = post(f"{server.url}/v1/reformulate", json=body, headers=headers)
        error = answer.json().get("error") or {"code": "ok"}
        return answer.status_code, error["code"]

    with overloaded(server, others):
        assert ask("wrong") == (401, "invalid_api_key")
        assert ask("right", host="evil.example") == (421, "host_not_allowed")
        assert [ask("right") for _ in range(6)] == [(200, "ok")] * 6
        assert ask("right") == ask("right", n=1) == (429, "rate_limited")
    assert EARLY in stop(server)


def test_a_delayed_answer_at_the_end() -> None:
    """SIGTERM sends the answers that are being delayed."""
    server = start(**TINY, stall_seconds="60", timeout_ms="60000", drain_seconds="1")
    server.wait_until_ready()
    connections = []
    with overloaded(server) as accepted:
        for _ in range(40):  # the first are not delayed
            connection = RawConnection(server)
            connection.send(request(PLAIN))
            connections.append(connection)
        server.process.send_signal(signal.SIGTERM)
        for connection in connections:
            assert connection.receive().status == 200
            connection.__exit__()
        assert [future.result().status_code for future in accepted] == [503, 503]
    assert "Traceback" not in server.wait()
