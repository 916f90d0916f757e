"""Requests as bytes, against the real process: what never ends is cut off."""

from __future__ import annotations

import socket

import httpx
import pytest

from support.serving import Server

MUCH = 8 << 20  # far more than buffers on the way hold
LINE = b"x-one: " + b"a" * 1000 + b"\r\n"
GET = b"GET /healthz HTTP/1.1\r\n"
CHUNKED = b"POST /v1/reformulate HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"


def connect(server: Server) -> socket.socket:
    url = httpx.URL(server.url)
    return socket.create_connection((url.host, url.port), timeout=60)


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (b"GET /", b"a"),
        (GET + b"x-one: ", b"a"),
        (GET, LINE),
        (CHUNKED + b"0\r\n", LINE),
        (CHUNKED + b"1;", b"a"),
    ],
    ids=["path", "header", "headers", "trailers", "framing"],
)
def test_what_is_no_body_has_a_bound(server: Server, begin: bytes, part: bytes) -> None:
    """Nobody can fill the memory with what no limit on bodies counts; others are answered."""
    with connect(server) as connection, pytest.raises(ConnectionError):
        connection.sendall(begin + part * (MUCH // len(part)))
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_a_connection_takes_any_number_of_requests(server: Server) -> None:
    """The bound is on each of them, and their bodies do not count; long cookies fit."""
    blanks = b" " * 100_000
    head = b"POST /v1/reformulate HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (len(blanks) + 14)
    whole = head + b'{"query": "a"}' + blanks
    with connect(server) as connection, connection.makefile("rb") as answers:
        for request in (whole, GET + LINE * 60 + b"\r\n", whole, GET + LINE * 60 + b"\r\n"):
            connection.sendall(request)
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while line := answers.readline().strip():
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            assert len(answers.read(length)) == length
