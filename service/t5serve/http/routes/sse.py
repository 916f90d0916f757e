"""Server-sent events."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from starlette.responses import Response, StreamingResponse

from t5engine.errors import JobError
from t5serve.errors import RequestError, ServerFault, error_body, request_error

logger = logging.getLogger(__name__)


class ServerEvent(NamedTuple):
    """A server-sent event.

    Attributes:
        name: the event name; None: the event has no name.
        data: the data, sent as JSON.
    """

    name: str | None
    data: Any


DONE = ServerEvent(None, "[DONE]")  # the end of OpenAI's streams; sent without quotes


async def event_response(
    events: AsyncIterator[ServerEvent], *, error_name: str | None = None
) -> Response:
    """Builds a streaming response.

    An error before the first event is raised. A later error becomes the last event. When the
    client leaves, Starlette cancels the stream, which cancels the iterator.

    Args:
        events: at least one event.
        error_name: the name of the event that reports an error.
    """
    first = await anext(events)

    async def frames() -> AsyncIterator[bytes]:
        yield _frame(first)
        try:
            async for event in events:
                yield _frame(event)
        except RequestError as error:
            yield _frame(ServerEvent(error_name, error_body(error)))
        except JobError as error:
            yield _frame(ServerEvent(error_name, error_body(request_error(error))))
        except Exception:
            logger.exception("a stream failed")
            fault = ServerFault("internal error")
            yield _frame(ServerEvent(error_name, error_body(fault)))

    return StreamingResponse(
        frames(),
        media_type="text/event-stream",
        # Some proxies buffer a response unless this header disables it.
        headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
    )


def _frame(event: ServerEvent) -> bytes:
    name = "" if event.name is None else f"event: {event.name}\n"
    if event is DONE:
        data = DONE.data
    else:
        # json.dumps escapes non-ASCII characters: some clients end a line at U+2028.
        data = json.dumps(event.data, separators=(",", ":"))
    return f"{name}data: {data}\n\n".encode()
