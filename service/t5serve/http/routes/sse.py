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
    """One event: its name, if it has one, and data that is sent as JSON."""

    name: str | None
    data: Any


DONE = ServerEvent(None, "[DONE]")  # the end of OpenAI's streams; sent as it is, without quotes


async def event_response(
    events: AsyncIterator[ServerEvent], *, error_name: str | None = None
) -> Response:
    """A stream of events; an error before the first is raised, a later one is the last event.

    When the client leaves, Starlette cancels the stream, and that the iterator.

    Args:
        events: one at least.
        error_name: of the event that tells of an error.
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
        # Some proxies gather a response before they pass it on, unless they are told not to.
        headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
    )


def _frame(event: ServerEvent) -> bytes:
    name = "" if event.name is None else f"event: {event.name}\n"
    if event is DONE:
        data = DONE.data
    else:
        # In ASCII: some clients end a line at U+2028 as well.
        data = json.dumps(event.data, separators=(",", ":"))
    return f"{name}data: {data}\n\n".encode()
