"""The bytes of server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from starlette.responses import Response, StreamingResponse

from t5serve.errors import InvalidRequest
from t5serve.http.routes.sse import ServerEvent, event_response


async def sent(response: Response) -> list[bytes]:
    """Returns the chunks of a response's body."""
    assert isinstance(response, StreamingResponse)
    return [bytes(chunk) async for chunk in response.body_iterator if isinstance(chunk, bytes)]


async def some(*events: ServerEvent) -> AsyncIterator[ServerEvent]:
    for event in events:
        yield event


def test_frames() -> None:
    """An event is a frame: its name, its data as one line of JSON, a blank line."""

    async def run() -> list[bytes]:
        events = some(ServerEvent("token", {"rank": 1, "text": "a"}), ServerEvent("done", {}))
        return await sent(await event_response(events))

    assert asyncio.run(run()) == [
        b'event: token\ndata: {"rank":1,"text":"a"}\n\n',
        b"event: done\ndata: {}\n\n",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "two\nlines\r\n\r\nand more",
        "event: fake\n\n",
        "\u4f60\u597d \U0001f642",
        '"\\',
        "\x00\x85\u2028",
    ],
)
def test_no_text_breaks_a_frame(text: str) -> None:
    """Line breaks, quotes and other characters in a text do not break the frame."""

    async def run() -> list[bytes]:
        return await sent(await event_response(some(ServerEvent("token", {"text": text}))))

    (frame,) = asyncio.run(run())
    name, data, *remainder = frame.split(b"\n")
    assert (name, remainder) == (b"event: token", [b"", b""])
    assert b"\r" not in data
    assert len(frame.decode().splitlines()) == 3  # httpx's iter_lines splits at U+2028 as well
    assert json.loads(data.removeprefix(b"data: ").decode()) == {"text": text}


def test_headers_tell_proxies_to_pass_it_on() -> None:
    """Proxies are told neither to store nor to buffer the stream."""

    async def run() -> Response:
        return await event_response(some(ServerEvent("done", None)))

    response = asyncio.run(run())
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert "content-length" not in response.headers


def test_an_error_before_the_first_event_is_raised() -> None:
    """Before the first event an error is raised, so that the response has its status."""

    async def failing() -> AsyncIterator[ServerEvent]:
        raise InvalidRequest("no")
        yield ServerEvent("done", None)

    with pytest.raises(InvalidRequest, match="no"):
        asyncio.run(event_response(failing()))


@pytest.mark.parametrize(
    ("error", "message"), [(InvalidRequest("no"), "no"), (KeyError("x"), "internal error")]
)
def test_an_error_after_the_first_event_is_the_last_one(error: Exception, message: str) -> None:
    """After the first event an error is the last event; a defect reveals no details."""

    async def failing() -> AsyncIterator[ServerEvent]:
        yield ServerEvent("token", 1)
        raise error

    async def run() -> list[bytes]:
        return await sent(await event_response(failing(), error_name="error"))

    first, last = asyncio.run(run())
    assert first == b"event: token\ndata: 1\n\n"
    name, data = last.decode().strip().split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["message"] == message


def test_events_are_sent_as_they_come() -> None:
    """An event is sent before the next event exists."""

    async def run() -> None:
        go_on = asyncio.Event()

        async def slow() -> AsyncIterator[ServerEvent]:
            yield ServerEvent("token", 1)
            await go_on.wait()
            yield ServerEvent("done", 2)

        response = await event_response(slow())
        assert isinstance(response, StreamingResponse)
        frames = aiter(response.body_iterator)
        assert await anext(frames) == b"event: token\ndata: 1\n\n"
        following = asyncio.ensure_future(anext(frames))
        await asyncio.sleep(0.01)
        assert not following.done()
        go_on.set()
        assert await following == b"event: done\ndata: 2\n\n"

    asyncio.run(run())
