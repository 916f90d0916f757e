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


def post(server: Server, **body: object) -> httpx.Response:
    with server.client() as client:
        return client.post("/v1/reformulate", json=body)


def answers(server: Server | str, **body: object) -> list[list[str]]:
    """The queries that come of QUERIES."""
    url = server if isinstance(server, str) else server.url
    response = httpx.post(f"{url}/v1/reformulate", json={"queries": QUERIES, **body}, timeout=60)
    assert response.status_code == 200, response.text
    return [result["queries"] for result in response.json()["results"]]


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


def assert_still_working(server: Server) -> None:
    assert post(server, query="how do i learn python fast", strict=True).status_code == 200
