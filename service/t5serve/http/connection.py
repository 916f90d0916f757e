"""Adds to uvicorn's connections: limits, paused reading, bodies without chunks, a probe."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PROBE_SECONDS = 0.1


@dataclass(frozen=True)
class ConnectionLimits:
    """The limits of each connection, and of their number.

    Attributes:
        max_connections: connections beyond this number are refused.
        head_seconds: the time for the head of a request, or for a body that nobody reads.
        write_seconds: the time that a client may leave its answers unread.
    """

    max_connections: int = 1000
    head_seconds: float = 10.0
    write_seconds: float = 30.0


class Timer:
    """Calls an action once, some seconds after `start`, unless it is stopped before."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, action: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._action = action
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Starts the timer, unless it is running."""
        if self._handle is None:
            self._handle = self._loop.call_later(self._seconds, self._ring)

    def stop(self) -> None:
        """Stops the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        self._handle = None
        self._action()


class HeldFlow(FlowControl):
    """Flow control that the application can't resume while reading is held."""

    is_held = False

    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()


class UnframedCycle(RequestResponseCycle):
    """Sends a body without chunks, for HTTP/1.0 (RFC 9112, 6.1 and 6.3).

    Without a Content-Length, the end of the connection ends the body.
    """

    async def send(self, message: ASGISendEvent) -> None:
        """Sends a message of the application."""
        if message["type"] == "http.response.start":
            self.chunked_encoding = False
        elif message["type"] == "http.response.body":
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class Probe:
    """Finds out whether a client that closed its side still waits for an answer, or has left.

    Both cases look the same until the service sends something. If the client has left, its system
    then resets the connection. A client that waits ignores an interim response (RFC 9110, 15.2).
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def start(self, *, may_write: bool) -> None:
        """Watches the connection until it ends.

        Args:
            may_write: whether an interim response may be sent now.
        """
        if may_write:
            self._transport.write(CONTINUE)
        self._check()

    def stop(self) -> None:
        """Ends the watch."""
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        """Ends a connection that was reset; asyncio would notice only at the next write."""
        if self._transport.is_closing():
            return
        connection = self._transport.get_extra_info("socket")
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(PROBE_SECONDS, self._check)
