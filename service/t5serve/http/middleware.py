"""Pure ASGI middleware: id, timing and a log line for every request, a limit on every body."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from t5serve import logs
from t5serve.errors import RequestTooLarge
from t5serve.http.endpoints import QUIET_PATHS
from t5serve.metrics import Metrics

logger = logging.getLogger("t5serve.requests")

OTHER = "other"
LONGEST_PATH = 200
SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestContext:
    """Gives each response `x-request-id`, the caller's if it is sane, and `x-processing-ms`.

    Counts and logs requests by the path of their route; `paths` has those by endpoint. No text of
    a query is logged.
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
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if SANE_ID.fullmatch(given) else uuid.uuid4().hex
        phases = logs.begin(request_id)

        status = 0  # of a client that left before there was one

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
        finally:
            route = self._paths.get(scope.get("endpoint", None), OTHER)
            seconds = time.perf_counter() - started
            self._metrics.requests.labels(route, status).inc()
            self._metrics.request_seconds.labels(route).observe(seconds)
            fields = {
                "method": scope["method"],
                "route": route if route != OTHER else quote(scope["path"])[:LONGEST_PATH],
                "status": status,
                "ms": round(1000 * seconds, 2),
                **phases.fields(),
            }
            level = logging.DEBUG if route in QUIET_PATHS else logging.INFO
            logger.log(level, "request", extra=fields)


class BodyLimit:
    """Refuses a body as soon as its bytes, announced or arrived, are too many."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        arrived = 0

        async def receive_within_limit() -> Message:
            nonlocal arrived
            if announced.isdecimal() and int(announced) > self._max_bytes:
                raise self._refusal()
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self._max_bytes:
                raise self._refusal()
            return message

        await self._app(scope, receive_within_limit, send)

    def _refusal(self) -> RequestTooLarge:
        return RequestTooLarge(f"the body has more than {self._max_bytes} bytes")
