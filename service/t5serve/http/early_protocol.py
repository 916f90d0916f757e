"""HTTP/1.1 with early answers: some requests never reach the application."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from t5serve.http.connection import ConnectionLimits
from t5serve.http.early_answers import MAX_BODY_BYTES, EarlyAnswer, EarlyAnswers
from t5serve.http.middleware import request_id_of
from t5serve.http.protocol import Protocol


class EarlyProtocol(Protocol):
    """Keeps small requests until they are complete while the service is overloaded.

    Such a request is answered early, or passed to the application as a whole.

    Args:
        early: decides, and builds the answers.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
        early: EarlyAnswers,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop, limits=limits)
        self._early = early
        self._body: bytearray | None = None
        """The body of the current request, if it may be answered early; else None."""
        self._answer: EarlyAnswer | None = None
        """The timer of an answer that is delayed."""
        self._answer_timer: asyncio.TimerHandle | None = None
        self._began_at = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        self._body = self._answer = None
        if self._answer_timer is not None:
            self._answer_timer.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self._body is not None:
            self._pass_on()
        self._send_answer()
        super().shutdown()

    @property
    def _is_answering(self) -> bool:
        return self._answer is not None or super()._is_answering

    @property
    def _must_wait(self) -> bool:
        return self._answer is not None or super()._must_wait

    @property
    def _is_incomplete(self) -> bool:
        return self._body is not None or super()._is_incomplete

    def _begin_request(self) -> None:
        if self._early.is_overloaded and not self._is_answering and self._may_be_early():
            self._began_at = time.perf_counter()
            self._body = bytearray()
        else:
            super()._begin_request()

    def _may_be_early(self) -> bool:
        is_small = self._content_left is not None and self._content_left <= MAX_BODY_BYTES
        is_kept = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        method = self.parser.get_method()
        return is_small and is_kept and self._early.accepts(method, self.url, self.headers)

    def _add_body(self, body: bytes) -> None:
        if self._body is None:
            super()._add_body(body)
        else:
            self._body += body

    def _end_request(self) -> None:
        if self._body is None:
            super()._end_request()
            return
        answer = self._early.answer(dict(self.scope), bytes(self._body), self.loop)
        if answer is None:
            self._pass_on()
            super()._end_request()
            return
        self._body, self._answer = None, answer
        if answer.delay:
            self._answer_timer = self.loop.call_later(answer.delay, self._send_in_time)
        else:
            self._send_answer()

    def _pass_on(self) -> None:
        """Passes the request to the application, with the part of the body that has arrived."""
        body, self._body = bytes(self._body or b""), None
        super()._begin_request()
        if body:
            super()._add_body(body)

    def _send_in_time(self) -> None:
        self._send_answer()
        self._parse()

    def _send_answer(self) -> None:
        if (answer := self._answer) is None:
            return
        self._answer = self._answer_timer = None
        client_id = next((value for name, value in self.headers if name == b"x-request-id"), b"")
        headers = {
            "content-length": f"{len(answer.body)}",
            "content-type": "application/json",
            **answer.headers,
            "x-request-id": request_id_of(client_id.decode("latin-1")),
            "x-processing-ms": f"{1000 * (time.perf_counter() - self._began_at):.1f}",
        }
        defaults = b"".join(b"%s: %s\r\n" % field for field in self.server_state.default_headers)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        head = STATUS_LINE[answer.status] + defaults + lines + b"\r\n"
        self.transport.write(head + answer.body)
        self.server_state.total_requests += 1
