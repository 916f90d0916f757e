"""What the service writes to standard error, by the real process."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.memory import private_kb
from support.serving import Server, free_port, launch, start, stop

QUERIES = {"queries": ["how do i learn python", "cheap secret flights"], "n": 2}


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """What a service logged as JSON that answered, refused, lost its worker and ended."""
    server = start(log_format="json", log_level="debug")
    server.wait_until_ready()
    with server.client() as client:
        client.post("/v1/reformulate", json=QUERIES, headers={"x-request-id": "two"})
        client.post("/v1/reformulate", json={"query": ""}, headers={"x-request-id": "blank"})
        client.get("/no/such%0A%1B[31mroute", headers={"x-request-id": "nowhere"})
        client.get("/v1/reformulate/a%20secret", headers={"x-request-id": "behind"})
        client.get(f"/{'x' * 5000}", headers={"x-request-id": "long"})
    os.kill(server.workers()[0], signal.SIGABRT)
    server.wait_until_ready()
    return [json.loads(line) for line in stop(server).splitlines()]


def request(lines: list[dict[str, Any]], request_id: str) -> dict[str, Any]:
    """The one line of a request."""
    (line,) = [
        line
        for line in lines
        if line["event"] == "request" and line.get("request_id") == request_id
    ]
    return line


def test_every_line_is_json_with_the_same_head(lines: list[dict[str, Any]]) -> None:
    """Ours and uvicorn's alike."""
    assert all({"event", "level", "logger", "timestamp"} <= set(line) for line in lines)
    assert {"t5serve.http.app", "uvicorn.error"} <= {line["logger"] for line in lines}
    assert not any("color_message" in line for line in lines)


def test_a_request_is_one_line_with_its_phases(lines: list[dict[str, Any]]) -> None:
    """Id, route, status, time; and what its inputs cost, together."""
    line = request(lines, "two")
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/reformulate", 200)
    assert line["inputs"] == 2
    assert line["prompt_tokens"] > 4
    assert line["encode_ms"] > 0
    assert line["decode_ms"] > 0
    assert line["ms"] > 0


def test_the_document_shows_such_a_line(lines: list[dict[str, Any]]) -> None:
    """Field by field."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r'^{"event": "request".*}$', page, re.MULTILINE)
    assert list(json.loads(shown)) == list(request(lines, "two"))


def test_a_refusal_has_no_phases(lines: list[dict[str, Any]]) -> None:
    """Nothing was decoded for it."""
    line = request(lines, "blank")
    assert line["status"] == 400
    assert "decode_ms" not in line


def test_a_path_can_not_forge_a_line(lines: list[dict[str, Any]]) -> None:
    """A route that is not there is logged as it stands in a URL."""
    line = request(lines, "nowhere")
    assert line["status"] == 404
    assert line["route"] == "/no/such%0A%1B%5B31mroute"


def test_a_path_is_not_logged_in_full(lines: list[dict[str, Any]]) -> None:
    """What stands behind a route can be a query, and a long path fills the log."""
    assert request(lines, "behind")["route"] == "/v1/reformulate/..."
    assert request(lines, "long")["route"] == f"/{'x' * 63}..."


def test_no_text_of_a_query_is_logged(lines: list[dict[str, Any]]) -> None:
    """What people search for is theirs, at the level debug too."""
    assert "secret" not in json.dumps(lines)


def test_probes_are_logged_for_debugging_only(lines: list[dict[str, Any]]) -> None:
    """They come every few seconds."""
    assert {line["level"] for line in lines if line.get("route") == "/readyz"} == {"debug"}


def test_a_worker_that_ends_is_an_error(lines: list[dict[str, Any]]) -> None:
    """With the reason."""
    (line,) = [line for line in lines if line["level"] == "error"]
    assert "Aborted (signal 6)" in line["event"]


def test_console_shows_the_same() -> None:
    """The default: for people, without colours where it is no terminal."""
    server = start()
    server.wait_until_ready()
    with server.client() as client:
        client.post("/v1/reformulate", json=QUERIES, headers={"x-request-id": "two"})
    text = stop(server)
    (line,) = [line for line in text.splitlines() if "request_id=two" in line]
    assert "route=/v1/reformulate status=200" in line
    assert "\x1b" not in text
    assert "/readyz" not in text


@pytest.fixture
def unread() -> Iterator[tuple[Server, int]]:
    """A service whose standard error is a pipe that nobody reads, and the pipe's other end."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as log:
        server = launch(free_port(), log, writer, {"log_level": "debug"})
    server.wait_until_ready()
    yield server, reader
    server.process.kill()
    server.process.wait()
    os.close(reader)


@pytest.mark.slow
def test_a_log_that_nobody_reads(unread: tuple[Server, int]) -> None:
    """The service answers, keeps its memory, counts what it drops, and ends when it is told to."""
    server, reader = unread
    with server.client() as client:
        before = private_kb(server.process.pid)
        for _ in range(3000):
            headers = {"x-request-id": "x" * 128}
            assert client.get("/" + "y" * 2000, headers=headers).status_code == 404
        for _ in range(12):  # a line has 200 characters of a path
            response = client.post("/v1/reformulate", json=QUERIES)
            assert response.status_code == 200
        assert private_kb(server.process.pid) - before < 20_000
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=30) == -signal.SIGTERM
    assert os.read(reader, 100)
