"""What every route owes a connection: an end to slow bodies, and no work for a client that left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from t5serve.errors import DeadlineExceeded

Answer = TypeVar("Answer")


async def read_body(request: Request, seconds: float) -> bytes:
    """The whole body.

    Raises:
        DeadlineExceeded: it did not arrive in time.
    """
    try:
        async with asyncio.timeout(seconds):
            return await request.body()
    except TimeoutError:
        raise DeadlineExceeded("the body did not arrive in time") from None


async def while_connected(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Runs some work, and cancels it when the client leaves.

    The body must have been read: what is received after it is the end of the connection.

    Raises:
        ClientDisconnect: the client left.
    """
    try:
        async with asyncio.timeout(None) as connected:
            watching = asyncio.create_task(_end(connected, request))
            try:
                return await work
            finally:
                watching.cancel()
    except TimeoutError:
        if connected.expired():
            raise ClientDisconnect from None
        raise


async def _end(connected: asyncio.Timeout, request: Request) -> None:
    """Lets the time be over when the client leaves: work has no task of its own to be cancelled."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    connected.reschedule(asyncio.get_running_loop().time())
