"""Server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from starlette.responses import Response, StreamingResponse


class ServerEvent(NamedTuple):
    """One event: its name, and data that is sent as JSON."""

    name: str
    data: Any


async def event_response(events: AsyncIterator[ServerEvent]) -> Response:
    """A stream of events; what goes wrong before the first is raised, not streamed.

    When the client leaves, Starlette cancels the stream, and that the iterator.
    """
    first = await anext(events)

    async def frames() -> AsyncIterator[bytes]:
        yield _frame(first)
        async for event in events:
            yield _frame(event)

    return StreamingResponse(
        frames(),
        media_type="text/event-stream",
        # Some proxies gather a response before they pass it on, unless they are told not to.
        headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
    )


def _frame(event: ServerEvent) -> bytes:
    data = json.dumps(event.data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {event.name}\ndata: {data}\n\n".encode()
