"""What RFC 9110 and 9112 ask of a server, over bare sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from support.raw import Answer, RawConnection
from support.serving import Server, start, stop
from t5serve.http.endpoints import ENDPOINTS

ORIGIN = "https://shop.example"
QUERY = {"query": "how do i clean a laptop screen", "strategy": "greedy"}
KEYS = {"message", "type", "param", "code"}


@pytest.fixture(scope="module")
def service() -> Iterator[Server]:
    """A service that pages of one origin may call; its setting has a slash at the end."""
    running = start(cors_origins=f"{ORIGIN}/")
    running.wait_until_ready()
    yield running
    stop(running)


def post(body: object, *fields: str, version: str = "1.1", path: str = "/v1/reformulate") -> bytes:
    """Builds a request with a JSON body."""
    raw = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/{version}",
        "Host: localhost",
        f"Content-Length: {len(raw)}",
        *fields,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + raw


def get(path: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def ask(server: Server, data: bytes) -> Answer:
    with RawConnection(server) as connection:
        connection.send(data)
        return connection.receive()


def half_close(server: Server, data: bytes) -> bytes:
    """Sends a request, ends this side of the connection, and reads all that comes."""
    with RawConnection(server) as connection:
        connection.send(data)
        connection.socket.shutdown(socket.SHUT_WR)
        return connection.rest()


def final_answers(received: bytes) -> list[bytes]:
    """Splits responses apart and leaves out the interim ones."""
    parts = received.split(b"HTTP/1.1 ")[1:]
    return [part for part in parts if not part.startswith(b"1")]


def test_a_half_closed_client_is_answered(service: Server) -> None:
    """A client may end its side after its requests (RFC 9112, 9.6): each one is answered."""
    (answer,) = final_answers(half_close(service, post(QUERY)))
    assert answer.startswith(b"200 ")
    assert b'"results":[{' in answer
    (stream,) = final_answers(half_close(service, post({**QUERY, "stream": True})))
    assert b"event: done" in stream
    assert stream.endswith(b"\r\n0\r\n\r\n")
    answers = final_answers(half_close(service, post(QUERY) + get("/healthz")))
    assert [answer[:3] for answer in answers] == [b"200", b"200"]


@pytest.mark.parametrize("data", [post(QUERY)[:-1], post(QUERY)[:30]])
def test_half_a_request_is_refused(service: Server, data: bytes) -> None:
    """A client that ends its side within a request hears so (RFC 9112, 8)."""
    received = half_close(service, data)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"ended before the request was complete" in received


def test_a_stream_for_http_1_0_has_no_chunks(service: Server) -> None:
    """The end of the connection ends it: such a client knows no chunks (RFC 9112, 6.1)."""
    with RawConnection(service) as connection:
        connection.send(post({**QUERY, "stream": True}, version="1.0"))
        head, _, body = connection.rest().partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head
    assert body.startswith(b"event: ")
    assert body.endswith(b"}\n\n")


def test_an_answer_for_http_1_0_has_its_length(service: Server) -> None:
    """What is no stream has a Content-Length, as for other clients."""
    with RawConnection(service) as connection:
        connection.send(post(QUERY, version="1.0"))
        head, _, body = connection.rest().partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "x" * 5000])
def test_an_encoded_body_is_refused(service: Server, encoding: str) -> None:
    """The refusal names the encoding and says which is taken (RFC 9110, 15.5.16 and 12.5.3)."""
    answer = ask(service, post(QUERY, f"Content-Encoding: {encoding}"))
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (415, "unsupported_encoding")
    assert f"Content-Encoding: {encoding[:199]}" in error["message"]
    assert answer.headers["accept-encoding"] == "identity"


def test_identity_is_no_encoding(service: Server) -> None:
    """`identity` says that nothing was done (RFC 9110, 8.4.1)."""
    assert ask(service, post(QUERY, "Content-Encoding: identity")).status == 200


def test_an_unknown_transfer_coding_is_refused(service: Server) -> None:
    """A coding beside chunked gets 501 (RFC 9112, 6.1); the body is not taken for plain text."""
    head = post(QUERY, "Transfer-Encoding: gzip, chunked").replace(b"Content-Length", b"X-Length")
    answer = ask(service, head.partition(b"{")[0] + b"1\r\n{\r\n0\r\n\r\n")
    assert (answer.status, answer.headers["connection"]) == (501, "close")
    assert "gzip, chunked" in json.loads(answer.body)["error"]["message"]


def test_a_large_head_is_refused_in_one_read(service: Server) -> None:
    """A head over 64 KB is refused however it arrives, trailers of a chunked body included."""
    assert ask(service, get("/healthz", f"X: {'a' * (1 << 16)}")).status == 431
    assert ask(service, get("/healthz", f"X: {'a' * (60_000)}")).status == 200
    chunked = post(QUERY, "Transfer-Encoding: chunked").replace(b"Content-Length", b"X-Length")
    head, _, body = chunked.partition(b"{")
    body = b"%x\r\n{%s\r\n0\r\n" % (len(body) + 1, body)
    assert ask(service, head + body + b"\r\n").status == 200
    assert ask(service, head + body + b"X: %s\r\n\r\n" % (b"a" * (1 << 16))).status == 431


PREFLIGHT = ("Origin: https://evil.example", "Access-Control-Request-Method: POST")
REFUSED = {
    "no HTTP": b"nonsense\r\n\r\n",
    "another version": b"GET / HTTP/3.0\r\n\r\n",
    "a large head": get("/", f"X: {'a' * 70_000}"),
    "a proxy": b"CONNECT example.com:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "an unknown path": get("/nothing"),
    "a missing file of the page": get("/static/nothing"),
    "no model": get("/v1/models/"),
    "another method": get("/v1/reformulate"),
    "a page of another origin": get("/v1/reformulate", *PREFLIGHT, method="OPTIONS"),
    "no JSON": post("a"),
    "an encoding": post(QUERY, "Content-Encoding: gzip"),
    "a transfer coding": get("/", "Transfer-Encoding: gzip"),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_all_errors_have_one_shape(service: Server, data: bytes) -> None:
    """Errors of HTTP, of routes and of CORS are alike: JSON, with an id and without sniffing."""
    answer = ask(service, data)
    assert answer.status >= 400
    assert json.loads(answer.body)["error"].keys() == KEYS
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"]
    assert answer.headers["date"].endswith(" GMT")


def test_nothing_is_sniffed(service: Server) -> None:
    """Every route tells browsers, once, to believe the type that it sends."""
    with service.client() as client:
        for endpoint in ENDPOINTS:
            path = endpoint.path.replace("{name}", "page.css").replace("{id:path}", "tiny-t5")
            response = client.request(endpoint.method, path)
            assert response.headers.get_list("x-content-type-options") == ["nosniff"]


def test_an_origin_with_a_slash_is_taken(service: Server) -> None:
    """A page of an origin that the setting has with a slash at the end may call the service."""
    fields = (f"Origin: {ORIGIN}", "Access-Control-Request-Method: POST")
    answer = ask(service, get("/v1/reformulate", *fields, method="OPTIONS"))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("/v1/models/", "did you mean /v1/models?"),
        ("/v1/reformulate/", "did you mean /v1/reformulate?"),
        ("/v1/v1/chat/completions", "did you mean /v1/chat/completions?"),
        ("/completions", "did you mean /v1/completions?"),
        ("/V1//Completions", "did you mean /v1/completions?"),
        ("/v1/modles", "did you mean /v1/models?"),
        ("/v1/embeddings", "there are: /v1/reformulate, /v1/completions, /v1/chat/completions, "),
    ],
)
def test_a_slip_hears_what_there_is(service: Server, path: str, advice: str) -> None:
    """An unknown path gets the nearest path, else the list of paths."""
    error = json.loads(ask(service, get(path)).body)["error"]
    assert error["message"].startswith(f"the path {path} does not exist; {advice}")


def test_a_404_repeats_at_most_200_characters(service: Server) -> None:
    """Neither a path nor the name of a model comes back whole."""
    for data in (get(f"/{'x' * 30_000}"), post({"model": "x" * 30_000, "prompt": "a"})):
        completions = data.replace(b"/v1/reformulate", b"/v1/completions")
        answer = ask(service, completions)
        message = json.loads(answer.body)["error"]["message"]
        assert (answer.status, message.count("x") < 210) == (404, True)


def test_a_method_hears_the_right_one(service: Server) -> None:
    """A 405 names the methods of the path, as its Allow does."""
    answer = ask(service, get("/v1/reformulate"))
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    message = json.loads(answer.body)["error"]["message"]
    assert message == "/v1/reformulate does not support GET; use POST"


def test_blanks_are_read_as_one(service: Server) -> None:
    """A run of blanks is collapsed before anything is done with it, and comes back as it was."""
    query = f"how do i{' ' * 980_000}clean 2 laptops"
    answer = ask(service, post({"query": query, "preserve": ["numbers", "content"]}))
    (result,) = json.loads(answer.body)["results"]
    assert result["original"] == query
    assert all(len(text) < 200 for text in result["queries"])


def test_a_long_query_is_refused_before_it_is_read(service: Server) -> None:
    """What the model can't take is not searched for names, languages or code either."""
    answer = ask(service, post({"queries": ["a", "a " * 400_000]}))
    error = json.loads(answer.body)["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "queries[1]")
    message = {"role": "user", "content": "a " * 400_000}
    body = {"model": "tiny-t5", "messages": [message]}
    error = json.loads(ask(service, post(body, path="/v1/chat/completions")).body)["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
