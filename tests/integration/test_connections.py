"""Connections that send too much, too slowly, nothing, or that never read."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from support.memory import private_kb
from support.raw import RawConnection
from support.serving import READY_SECONDS, Server, start, stop

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = b"POST /v1/reformulate HTTP/1.1\r\nhost: localhost\r\n"
GROWTH_KB = 20_000


@pytest.fixture(scope="module")
def brisk() -> Iterator[Server]:
    """A service with short time limits and few connections."""
    running = start(
        head_seconds="1", keep_alive_seconds="1", timeout_ms="1000", max_connections="40"
    )
    running.wait_until_ready()
    yield running
    assert "Traceback" not in stop(running)


def flood(connection: socket.socket, data: bytes) -> None:
    """Sends 7 MB without reading, or as much as the service takes."""
    connection.settimeout(1.0)
    with contextlib.suppress(TimeoutError):
        for _ in range((7 << 20) // len(data)):
            connection.sendall(data)


FLOODS = {
    "heads": HEALTH * 100,
    "bodies": POST + b"content-length: 20000\r\n\r\n" + b"\r\n\r\n{" * 4000,
    "chunks": (
        POST + b"transfer-encoding: chunked\r\n\r\n14\r\n" + b"\r\n" * 10 + b"\r\n0\r\n\r\n"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("data", FLOODS.values(), ids=FLOODS)
def test_requests_without_reading(brisk: Server, data: bytes) -> None:
    """A client that reads no answers is not read; its requests use no memory, others are served."""
    before = private_kb(brisk.process.pid)
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            flood(stack.enter_context(RawConnection(brisk)).socket, data)
        assert httpx.get(f"{brisk.url}/healthz").status_code == 200
        assert private_kb(brisk.process.pid) - before < GROWTH_KB


def test_pipelined_requests_are_all_answered(brisk: Server) -> None:
    """A thousand requests at once are answered in order, once the client reads."""
    count = 1000
    requests = b"".join(
        b"GET /nothing HTTP/1.1\r\nhost: localhost\r\nx-request-id: %d\r\n\r\n" % index
        for index in range(count)
    )
    with RawConnection(brisk) as connection:
        connection.send(requests)
        ids = [connection.receive().headers["x-request-id"] for _ in range(count)]
    assert ids == [str(index) for index in range(count)]


def test_garbage_behind_a_request(brisk: Server) -> None:
    """Bytes that are no HTTP do not get into the answer to the request before them."""
    body = b'{"query": "how do i learn python"}'
    with RawConnection(brisk) as connection:
        connection.send(POST + b"content-length: %d\r\n\r\n%s" % (len(body), body) + b"\0" * 50)
        answer = connection.receive()
        assert answer.status == 200
        assert json.loads(answer.body)["results"]
        assert answer.headers["connection"] == "close"
        assert connection.rest() == b""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", None),
        (b"GET /hea", 408),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n", 408),
        (b"\r\n", 408),
        (HEALTH + b"GET /", 408),
        (POST + b"content-length: 9\r\n\r\n{", 408),
        (POST + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", 408),
        (HEALTH, None),
        (b"POST /nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{", None),
    ],
    ids=["nothing", "line", "head", "blank", "second", "body", "chunks", "idle", "answered"],
)
def test_slow_requests_end(brisk: Server, sent: bytes, status: int | None) -> None:
    """A request that does not go on is answered with 408; an idle connection is closed."""
    with RawConnection(brisk) as connection:
        connection.send(sent)
        if sent.startswith((HEALTH, b"POST /nothing")):
            connection.receive()
        if status is not None:
            answer = connection.receive()
            assert answer.status == status
            assert json.loads(answer.body)["error"]["code"] == "request_timeout"
        if not sent.startswith(POST):  # a body has its own limit; then the connection is idle
            assert connection.rest() == b""


def test_slow_bytes_do_not_prolong_a_head(brisk: Server) -> None:
    """The limit is on the whole head, not on the time between bytes."""
    with RawConnection(brisk) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\nx-slow: ")
        connection.socket.settimeout(0.05)
        answer = b""
        while not answer:
            connection.send(b"a")
            with contextlib.suppress(TimeoutError):
                answer = connection.socket.recv(100)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_connections_are_capped(brisk: Server) -> None:
    """Connections over the limit are refused; those that are open go on."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(RawConnection(brisk))
        first.send(HEALTH)
        assert first.receive().status == 200
        refused = 0
        for _ in range(100):
            connection = stack.enter_context(RawConnection(brisk))
            connection.socket.settimeout(0.005)
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                refused += b"503 Service Unavailable" in connection.socket.recv(1000)
        assert refused
        first.send(HEALTH)
        assert first.receive().status == 200
    brisk.wait_until_ready()


@pytest.mark.slow
def test_a_low_limit_on_descriptors() -> None:
    """More clients than descriptors: a worker that dies is replaced, and the log stays short."""
    server = start(max_files=256, max_connections="5000")
    server.wait_until_ready()
    (worker,) = server.workers()
    with contextlib.ExitStack() as stack:
        for _ in range(600):
            with contextlib.suppress(OSError):
                stack.enter_context(RawConnection(server))
        os.kill(worker, signal.SIGKILL)
        stop_waiting = time.monotonic() + READY_SECONDS
        while server.workers() in ([], [worker]) and time.monotonic() < stop_waiting:
            time.sleep(0.05)
        assert server.workers() not in ([], [worker])
    server.wait_until_ready()
    assert len(stop(server).splitlines()) < 100
