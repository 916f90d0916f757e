"""ASGI middleware: ids, timings, metrics and a log line per request; a limit on bodies."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from t5engine.pool.turns import current_turn
from t5serve import logs
from t5serve.errors import NotReady, RequestTooLarge, UnsupportedEncoding, excerpt
from t5serve.http.endpoints import ENDPOINTS, QUIET_PATHS
from t5serve.http.responses import error_response
from t5serve.metrics import Metrics

logger = logging.getLogger("t5serve.requests")

OTHER_ROUTE = "other"
MAX_LOGGED_PATH = 64
VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestContext:
    """Adds `x-request-id` and `x-processing-ms` to responses; counts and logs requests.

    The id is the client's if it is valid, else a new one. Requests are counted and logged by the
    path of their route. The text of queries is never logged.

    Args:
        app: the application.
        metrics: the metrics that count the requests.
        paths: the path of each route, by its handler.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, paths: Mapping[Callable[..., Any], str]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = request_id_of(Headers(scope=scope).get("x-request-id", ""))
        stats = logs.start_request(request_id)
        client = scope.get("client") or ("", 0)
        current_turn.set((client[0], object()))  # clients take turns, and so do their requests

        status = 0  # stays 0 if the client leaves before the response starts

        async def send_with_context(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["x-processing-ms"] = f"{1000 * (time.perf_counter() - started):.1f}"
            await send(message)

        try:
            await self._app(scope, receive, send_with_context)
        except asyncio.CancelledError:  # uvicorn, after the drain
            if not status:
                refusal = error_response(NotReady("the service is shutting down"))
                await refusal(scope, receive, send_with_context)
        finally:
            route = self._paths.get(scope.get("endpoint", None), OTHER_ROUTE)
            seconds = time.perf_counter() - started
            self._metrics.requests.labels(route, status).inc()
            self._metrics.request_seconds.labels(route).observe(seconds)
            fields = {
                "method": scope["method"],
                "route": route if route != OTHER_ROUTE else _shorten_path(scope["path"]),
                "status": status,
                "ms": round(1000 * seconds, 2),
                **stats.log_fields(),
            }
            level = logging.DEBUG if route in QUIET_PATHS else logging.INFO
            logger.log(level, "request", extra=fields)


def _shorten_path(path: str) -> str:
    """Shortens an unknown path for the log; the part behind a known route is left out."""
    for endpoint in ENDPOINTS:
        if path.startswith(f"{endpoint.path}/"):
            return f"{endpoint.path}/..."
    quoted = quote(path)
    return quoted if len(quoted) <= MAX_LOGGED_PATH else f"{quoted[:MAX_LOGGED_PATH]}..."


def request_id_of(client_id: str) -> str:
    """Returns the client's id of a request if it is valid, else a new one."""
    return client_id if VALID_ID.fullmatch(client_id) else uuid.uuid4().hex


class BodyLimit:
    """Refuses bodies that are encoded or too long.

    A request is refused as soon as the announced or received bytes of its body exceed the limit.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0")
        encoding = ", ".join(headers.getlist("content-encoding")).strip()
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            if encoding.lower() not in ("", "identity"):  # RFC 9110, 8.4.1: identity is no coding
                raise UnsupportedEncoding(
                    f"Content-Encoding: {excerpt(encoding)} is not supported; send plain JSON"
                )
            if announced.isdecimal() and int(announced) > self._max_bytes:
                raise self._refusal()
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise self._refusal()
            return message

        await self._app(scope, receive_within_limit, send)

    def _refusal(self) -> RequestTooLarge:
        return RequestTooLarge(f"the body has more than {self._max_bytes} bytes")
