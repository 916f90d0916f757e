"""Offers to upgrade are ignored: the body belongs to its request, whatever it looks like."""

from __future__ import annotations

import json

import pytest

from support.raw import RawConnection
from support.serving import Server

BODY = b'{"query": "how do i learn python"}'
SMUGGLED = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"
PROBE = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
OFFERS = {
    "jdk": b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n",
    "apache": b"Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n",
    "websocket": b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n",
    "case": b"uPGRADE: H2C\r\ncONNECTION: uPGRADE\r\n",
    "spaces": b"Upgrade:   \t h2c  \t\r\nConnection:\t upgrade \r\n",
    "several": b"Upgrade: h2c\r\nUpgrade: foo/2\r\nConnection: upgrade\r\nConnection: upgrade\r\n",
    "list": b"Upgrade: h2c, TLS/1.2, foo/2\r\nConnection: Upgrade\r\n",
    "empty": b"Upgrade:\r\nConnection: upgrade\r\n",
}


def request(offer: bytes, body: bytes, *, chunked: bool = False) -> bytes:
    head = (
        b"POST /v1/reformulate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        + offer
    )
    if not chunked:
        return head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    half = len(body) // 2
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"


def packets(data: bytes, cut: str) -> list[bytes]:
    """Cuts bytes into packets: none, after the head, or one a byte."""
    if cut == "whole":
        return [data]
    if cut == "bytes":
        return [data[index : index + 1] for index in range(len(data))]
    end = data.index(b"\r\n\r\n") + 4
    return [data[:end], data[end:]]


@pytest.mark.parametrize("cut", ["whole", "head", "bytes"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_an_offer_is_ignored(server: Server, offer: bytes, cut: str, *, chunked: bool) -> None:
    """The body is read and answered, and the connection takes further requests."""
    with RawConnection(server) as connection:
        for _ in range(2):
            for packet in packets(request(offer, BODY, chunked=chunked), cut):
                connection.send(packet)
            answer = connection.receive()
            assert answer.status == 200
            (result,) = json.loads(answer.body)["results"]
            assert result["original"] == "how do i learn python"
        connection.send(PROBE)
        assert connection.receive().body == b'{"status":"ok"}'


@pytest.mark.parametrize("cut", ["whole", "head", "bytes"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_a_body_is_no_request(server: Server, offer: bytes, cut: str, *, chunked: bool) -> None:
    """A body that is a request itself has one answer: that it is no JSON."""
    with RawConnection(server) as connection:
        for packet in packets(request(offer, SMUGGLED, chunked=chunked), cut):
            connection.send(packet)
        answer = connection.receive()
        assert answer.status == 400
        assert b"JSON" in answer.body
        connection.send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert connection.receive().body == b'{"status":"ok"}'
        assert connection.rest() == b""


def test_offers_may_be_pipelined(server: Server) -> None:
    """Requests in one packet, each with an offer, are answered in order."""
    offer = OFFERS["jdk"]
    data = request(offer, BODY) + request(offer, SMUGGLED, chunked=True) + request(offer, BODY)
    with RawConnection(server) as connection:
        connection.send(data)
        assert [connection.receive().status for _ in range(3)] == [200, 400, 200]


def test_an_offer_in_trailers_is_ignored(server: Server) -> None:
    """Trailers are no headers: neither an offer nor anything else is taken from them."""
    whole = request(b"Connection: upgrade\r\n", BODY, chunked=True)
    with RawConnection(server) as connection:
        connection.send(whole[:-2] + b"upgrade: h2c\r\nx-request-id: trailer\r\n\r\n" + PROBE)
        answer = connection.receive()
        assert answer.status == 200
        assert answer.headers["x-request-id"] != "trailer"
        assert connection.receive().status == 200


def test_folded_fields_are_refused(server: Server) -> None:
    """A folded Connection can hide an offer from a proxy: RFC 9112, 5.2, allows to refuse it."""
    for fold in (b"Connection: keep-alive,\r\n upgrade\r\n", b"Connection:\r\n\tupgrade\r\n"):
        with RawConnection(server) as connection:
            connection.send(request(fold + b"Upgrade: h2c\r\n", SMUGGLED))
            answer = connection.receive()
            assert (answer.status, answer.headers["connection"]) == (400, "close")
            assert connection.rest() == b""


def test_connect_ends_the_connection(server: Server) -> None:
    """The service is no proxy, and what follows a CONNECT is not read."""
    with RawConnection(server) as connection:
        connection.send(
            b"CONNECT a:1 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 36\r\n\r\n" + SMUGGLED
        )
        answer = connection.receive()
        assert (answer.status, answer.headers["connection"]) == (405, "close")
        assert json.loads(answer.body)["error"]["code"] == "method_not_allowed"
        assert {"x-request-id", "x-processing-ms"} <= set(answer.headers)
        assert connection.rest() == b""
