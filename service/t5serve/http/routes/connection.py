"""Limits the time of a request's body, and cancels the work of a client that left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from t5serve.errors import RequestTimeout

Result = TypeVar("Result")


async def read_body(request: Request, seconds: float) -> bytes:
    """Reads the whole body.

    Args:
        request: the request.
        seconds: the time that the body may take.

    Raises:
        RequestTimeout: the body did not arrive in time.
    """
    try:
        async with asyncio.timeout(seconds):
            return await request.body()
    except TimeoutError:
        raise RequestTimeout("the body did not arrive in time") from None


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Runs a coroutine, and cancels it when the client leaves.

    The body must have been read, so that the next message is the end of the connection.

    Raises:
        ClientDisconnect: the client left.
    """
    try:
        async with asyncio.timeout(None) as connected:
            watcher = asyncio.create_task(_expire_on_disconnect(connected, request))
            try:
                return await work
            finally:
                watcher.cancel()
    except TimeoutError:
        if connected.expired():
            raise ClientDisconnect from None
        raise


async def _expire_on_disconnect(connected: asyncio.Timeout, request: Request) -> None:
    """Expires a timeout when the client leaves; the work has no task that could be cancelled."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    connected.reschedule(asyncio.get_running_loop().time())
