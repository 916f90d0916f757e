"""Answers requests that can't be met in time, before the application sees them.

Under overload most requests are refused, and what a refusal costs is taken from the requests that
could be met. Here a refusal costs a tenth of what it costs in the application: no task, no routing,
no schema, no line in the log. What is not plain goes to the application.
"""

from __future__ import annotations

import logging
import time
import uuid
from asyncio import AbstractEventLoop
from collections import Counter
from typing import Any, NamedTuple

import msgspec
from starlette.types import Scope

from t5engine.decoding.parameters import GenerationConfig
from t5engine.pool.turns import current_turn
from t5serve.errors import ERROR_RESPONSES, QueueFull, error_body, error_headers
from t5serve.http.access import Access
from t5serve.http.endpoints import REFORMULATE
from t5serve.http.routes.reformulate import fallback_body
from t5serve.metrics import Metrics
from t5serve.models.registry import ModelRegistry
from t5serve.models.served_model import ServedModel
from t5serve.reformulation.options import Options, decoding_of
from t5serve.settings import Settings

logger = logging.getLogger("t5serve.requests")

MAX_BODY_BYTES = 4096
LOG_SECONDS = 1.0
UNUSUAL_HEADERS = frozenset({b"content-encoding", b"origin", b"expect"})
"""What only the application answers: 415, CORS, 100."""
REASON = ERROR_RESPONSES[QueueFull].code or ""
MESSAGE = "the jobs that wait leave no time for another before its deadline"

Json = dict[str, Any]


class EarlyAnswer(NamedTuple):
    """An answer, and when to send it.

    Attributes:
        status: the status of the response.
        headers: its headers.
        body: its body, JSON.
        delay: seconds to wait before it is sent.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    delay: float


class PlainRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request with a few fields only; all others are the application's."""

    query: str
    task: str | None = None
    timeout_ms: int | None = None
    strict: bool = False
    cache: bool = True


_decoder = msgspec.json.Decoder(PlainRequest)


class EarlyAnswers:
    """Decides which requests are refused early, and builds, counts and logs the answers.

    Args:
        settings: the limits of a request.
        models: the served models.
        access: who may use the service.
        metrics: the metrics to count in.
    """

    def __init__(
        self, settings: Settings, models: ModelRegistry, access: Access, metrics: Metrics
    ) -> None:
        self._max_timeout_ms = settings.timeout_ms
        self._models = models
        self._access = access
        self._metrics = metrics
        self._unlogged: Counter[int] = Counter()
        """Early answers since the last line in the log, by status."""
        self._template: Json | None = None
        self._config: GenerationConfig | None = None

    @property
    def is_overloaded(self) -> bool:
        """Whether requests may have to be refused."""
        engine = self._models.default.engine
        return engine.is_overloaded and engine.state == "ready"

    def accepts(self, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether a request may be answered early, once its body is here."""
        if url != REFORMULATE.path.encode() or method != b"POST":
            return False
        names = {name for name, _ in headers}
        return b"content-length" in names and not names & UNUSUAL_HEADERS

    def answer(self, scope: Scope, body: bytes, loop: AbstractEventLoop) -> EarlyAnswer | None:
        """Answers a request whose job the engine would refuse; None: the application answers."""
        model = self._models.default
        try:
            request = _decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        timeout_ms = request.timeout_ms if request.timeout_ms is not None else self._max_timeout_ms
        tasks = model.profile.tasks
        is_plain = request.query.isascii() and request.query.isprintable() and request.query.strip()
        is_task = request.task is None or request.task in tasks
        if not (is_plain and is_task and 1 <= timeout_ms <= self._max_timeout_ms):
            return None
        client = scope.get("client") or ("", 0)
        current_turn.set((client[0], object()))
        if not self._access.admits({**scope, "path": REFORMULATE.path}):
            return None
        text = tasks[request.task or next(iter(tasks))].render(request.query)
        turn, _ = current_turn.get()
        if not model.engine.would_refuse(self._config_of(model), text, timeout_ms / 1000, turn):
            return None
        rates = self._access.rates
        if rates is not None and not rates.allow({"path": REFORMULATE.path}):
            return None
        answer = self._refusal(model, request.query, is_strict=request.strict)
        self._count(answer, loop)
        return answer

    def _config_of(self, model: ServedModel) -> GenerationConfig:
        if self._config is None:
            self._config = decoding_of(Options(), model.profile.generation)
        return self._config

    def _refusal(self, model: ServedModel, query: str, *, is_strict: bool) -> EarlyAnswer:
        delay = model.engine.refusal_delay()
        if is_strict:
            error = QueueFull(MESSAGE)
            body = msgspec.json.encode(error_body(error))
            return EarlyAnswer(ERROR_RESPONSES[QueueFull].status, error_headers(error), body, delay)
        if self._template is None:
            self._template = fallback_body(model.name, "", REASON)
        (result,) = self._template["results"]
        (original,) = result["reformulations"]
        filled = {
            **self._template,
            "id": f"reformulate-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "timings_ms": {**self._template["timings_ms"], "total": round(1000 * delay, 3)},
            "results": [
                {
                    **result,
                    "original": query,
                    "queries": [query],
                    "reformulations": [{**original, "text": query}],
                }
            ],
        }
        return EarlyAnswer(200, {}, msgspec.json.encode(filled), delay)

    def _count(self, answer: EarlyAnswer, loop: AbstractEventLoop) -> None:
        if answer.status == 200:
            self._metrics.fallbacks.labels(REASON).inc()
        self._metrics.requests.labels(REFORMULATE.path, answer.status).inc()
        self._metrics.request_seconds.labels(REFORMULATE.path).observe(answer.delay)
        if not self._unlogged:
            loop.call_later(LOG_SECONDS, self._log)
        self._unlogged[answer.status] += 1

    def _log(self) -> None:
        for status, count in self._unlogged.items():
            fields = {"route": REFORMULATE.path, "status": status, "requests": count}
            logger.info("requests refused early", extra=fields)
        self._unlogged.clear()
