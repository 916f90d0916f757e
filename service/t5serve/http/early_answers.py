"""Answers requests that can't be met in time, before the application sees them.

Under overload most requests are refused, and each refusal takes time from the accepted requests. A
refusal here takes about a fifth of the time that it takes in the application: there is no asyncio
task, routing, schema or log line. Only requests with simple fields are answered here.
"""

from __future__ import annotations

import logging
import time
import uuid
from asyncio import AbstractEventLoop
from collections import Counter
from collections.abc import Hashable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
from starlette.types import Scope

from t5engine.decoding.parameters import GenerationConfig
from t5engine.pool.turns import current_turn
from t5gguf.tasks import Task
from t5serve.errors import (
    ERROR_RESPONSES,
    RequestError,
    error_body,
    error_headers,
    request_error,
)
from t5serve.http.access import Access
from t5serve.http.endpoints import REFORMULATE
from t5serve.http.routes.reformulate import FALLBACK_HEADER, fallback_body
from t5serve.metrics import Metrics
from t5serve.models.registry import ModelRegistry
from t5serve.models.served_model import ServedModel
from t5serve.reformulation.options import Options, searches_of
from t5serve.settings import Settings

logger = logging.getLogger("t5serve.requests")

MAX_BODY_BYTES = 4096
LOG_SECONDS = 1.0
UNUSUAL_HEADERS = frozenset({b"content-encoding", b"origin", b"expect"})
"""Headers that only the application handles: 415, CORS, 100 Continue."""

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
    """A request with these fields only; the application answers all other requests."""

    query: str
    model: str | None = None
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
        self._templates: dict[tuple[str, str], Json] = {}
        """Answers whose query is filled in later, by model and reason of the fallback."""
        self._configs: WeakKeyDictionary[ServedModel, dict[str, GenerationConfig]]
        self._configs = WeakKeyDictionary()
        """The decoding parameters of each task of a model, for a request with default options."""

    @property
    def is_overloaded(self) -> bool:
        """Whether requests may have to be refused."""
        return any(_is_overloaded(slot.model) for slot in self._models)

    def accepts(self, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether a request may be answered early, once its body has arrived."""
        if url != REFORMULATE.path.encode() or method != b"POST":
            return False
        names = {name for name, _ in headers}
        return b"content-length" in names and not names & UNUSUAL_HEADERS

    def answer(self, scope: Scope, body: bytes, loop: AbstractEventLoop) -> EarlyAnswer | None:
        """Answers a request whose job the engine would refuse; None: the application answers."""
        request = _decode(body)
        model = None if request is None else self._find(request.model)
        if request is None or model is None or not self._is_plain(request, model):
            return None
        if (client := self._admit(scope)) is None:
            return None
        error = self._refusal_of(request, model, client)
        if error is None or self._needs_no_place(request, model):
            return None
        rates = self._access.rates
        if rates is not None and not rates.allow({"path": REFORMULATE.path}):
            return None
        delay = model.engine.refusal_delay()
        if request.strict:
            answer = _error_answer(error, delay)
        else:
            answer = self._fall_back(request.query, model, error, delay)
        self._count(answer, loop)
        return answer

    def _find(self, name: str | None) -> ServedModel | None:
        """Returns the model of a request if the model is overloaded, else None."""
        try:
            model = self._models.find(name).model
        except RequestError:
            return None
        return model if _is_overloaded(model) else None

    def _is_plain(self, request: PlainRequest, model: ServedModel) -> bool:
        """Whether a request is valid without further checks, and its query is plain ASCII."""
        query, tasks = request.query, model.profile.tasks
        is_plain = query.isascii() and query.isprintable() and bool(query.strip())
        is_task = request.task in tasks or (request.task is None and bool(tasks))
        return is_plain and is_task and 1 <= self._timeout_ms(request) <= self._max_timeout_ms

    def _admit(self, scope: Scope) -> Hashable | None:
        """Returns the client of a request; None: the Host or the key is not allowed."""
        client = scope.get("client") or ("", 0)
        current_turn.set((client[0], object()))
        is_admitted = self._access.admits({**scope, "path": REFORMULATE.path})
        return current_turn.get()[0] if is_admitted else None

    def _refusal_of(
        self, request: PlainRequest, model: ServedModel, client: Hashable
    ) -> RequestError | None:
        task, config = self._decoding_of(request, model)
        seconds = self._timeout_ms(request) / 1000
        text, cut = task.fill(request.query)
        error = model.engine.refusal_of(config, text, seconds, client, cut)
        return None if error is None else request_error(error)

    def _needs_no_place(self, request: PlainRequest, model: ServedModel) -> bool:
        """Whether the result is cached: the application then answers, whatever the load."""
        if not request.cache or model.cached_engine is None:
            return False
        task, config = self._decoding_of(request, model)
        text, cut = model.reformulator.fill(request.query, task)
        return model.cached_engine.has_result(config, text=text, cut=cut)

    def _decoding_of(
        self, request: PlainRequest, model: ServedModel
    ) -> tuple[Task, GenerationConfig]:
        profile = model.profile
        name = request.task or next(iter(profile.tasks))
        configs = self._configs.setdefault(model, {})
        if name not in configs:
            options = Options.for_task(profile.tasks[name])
            configs[name] = searches_of(options, profile.generation)[0]
        return profile.tasks[name], configs[name]

    def _timeout_ms(self, request: PlainRequest) -> int:
        return self._max_timeout_ms if request.timeout_ms is None else request.timeout_ms

    def _fall_back(
        self, query: str, model: ServedModel, error: RequestError, delay: float
    ) -> EarlyAnswer:
        """Builds the same answer as the application, by filling the query into a template."""
        reason = ERROR_RESPONSES[type(error)].code or ""
        self._metrics.fallbacks.labels(model.name, reason).inc()
        key = model.name, reason
        if key not in self._templates:
            self._templates[key] = fallback_body(model.name, "", reason)
        template = self._templates[key]
        (result,) = template["results"]
        (original,) = result["reformulations"]
        filled = {
            **template,
            "id": f"reformulate-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "timings_ms": {**template["timings_ms"], "total": round(1000 * delay, 3)},
            "results": [
                {
                    **result,
                    "original": query,
                    "queries": [query],
                    "reformulations": [{**original, "text": query}],
                }
            ],
        }
        return EarlyAnswer(200, {FALLBACK_HEADER: reason}, msgspec.json.encode(filled), delay)

    def _count(self, answer: EarlyAnswer, loop: AbstractEventLoop) -> None:
        self._metrics.requests.labels(REFORMULATE.path, answer.status).inc()
        self._metrics.request_seconds.labels(REFORMULATE.path).observe(answer.delay)
        if not self._unlogged:
            loop.call_later(LOG_SECONDS, self.log_counts)
        self._unlogged[answer.status] += 1

    def log_counts(self) -> None:
        """Logs the early answers since the last time, a line for each status."""
        for status, count in self._unlogged.items():
            fields = {"route": REFORMULATE.path, "status": status, "requests": count}
            logger.info("requests refused early", extra=fields)
        self._unlogged.clear()


def _decode(body: bytes) -> PlainRequest | None:
    """Parses a body; None: the body is invalid, or has other fields."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _is_overloaded(model: ServedModel | None) -> bool:
    return model is not None and model.engine.is_overloaded and model.engine.state == "ready"


def _error_answer(error: RequestError, delay: float) -> EarlyAnswer:
    status = ERROR_RESPONSES[type(error)].status
    return EarlyAnswer(status, error_headers(error), msgspec.json.encode(error_body(error)), delay)
