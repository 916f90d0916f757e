"""Requests to /v1/reformulate, and the events of its streams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from support.serving import Server

ERROR_KEYS = {"message", "type", "param", "code"}
QUERIES = (
    "how do i learn python fast",
    "best running shoes for flat feet 2024",
    "how long does it take to charge an electric car at home with a 7 kW charger",
)
Event = tuple[str, Any]
# The tests of decoding see what the model says, one text per sequence; guards and lists have tests.
UNGUARDED: dict[str, Any] = {"task": "paraphrase", "preserve": []}


def post(server: Server, **body: object) -> httpx.Response:
    with server.client() as client:
        return client.post("/v1/reformulate", json={**UNGUARDED, **body})


def answers(server: Server | str, **body: object) -> list[list[str]]:
    """Returns the reformulations of QUERIES."""
    url = server if isinstance(server, str) else server.url
    body = {"queries": QUERIES, **UNGUARDED, **body}
    response = httpx.post(f"{url}/v1/reformulate", json=body, timeout=60)
    assert response.status_code == 200, response.text
    return [result["queries"] for result in response.json()["results"]]


def events_of(response: httpx.Response) -> Iterator[Event]:
    """Yields server-sent events, each as soon as it is complete."""
    data = b""
    for part in response.iter_raw():
        data += part
        while b"\n\n" in data:
            frame, _, data = data.partition(b"\n\n")
            name, _, content = frame.decode().partition("\n")
            yield name.removeprefix("event: "), json.loads(content.removeprefix("data: "))
    assert not data


def stream(server: Server, **body: object) -> list[Event]:
    """Returns all events of a stream."""
    with (
        server.client() as client,
        client.stream(
            "POST", "/v1/reformulate", json={**UNGUARDED, **body, "stream": True}
        ) as response,
    ):
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(events_of(response))


def concatenate_tokens(events: list[Event]) -> dict[tuple[int, int], str]:
    """Concatenates the text of tokens, by query index and rank."""
    texts: dict[tuple[int, int], str] = {}
    for name, data in events:
        if name == "token":
            assert data.keys() == {"query_index", "rank", "text"}
            key = data["query_index"], data["rank"]
            texts[key] = texts.get(key, "") + data["text"]
    return texts


def select_events(events: list[Event], name: str) -> list[Any]:
    return [data for event_name, data in events if event_name == name]


def assert_still_working(server: Server) -> None:
    assert post(server, query="how do i learn python fast", strict=True).status_code == 200
