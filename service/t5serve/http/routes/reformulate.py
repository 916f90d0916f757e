"""POST /v1/reformulate."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t5serve.errors import InvalidRequest
from t5serve.http import endpoints
from t5serve.http.routes.connection import read_body, while_connected
from t5serve.http.routes.sse import ServerEvent, event_response
from t5serve.http.schemas.body import UsageBody, parse
from t5serve.http.schemas.reformulate import (
    QueryItem,
    ReformulateRequest,
    ReformulateRest,
    TimingsBody,
    result_json,
)
from t5serve.metrics import Metrics
from t5serve.models.registry import ModelRegistry
from t5serve.reformulation.reformulator import Event, Finished, QueryResult
from t5serve.settings import Settings

Json = dict[str, Any]


def reformulate_routes(models: ModelRegistry, settings: Settings, metrics: Metrics) -> list[Route]:
    """The native endpoint."""

    async def reformulate(request: Request) -> Response:
        started = time.perf_counter()
        body = parse(ReformulateRequest, await read_body(request, settings.timeout_ms / 1000))
        items = body.items()
        if body.timeout_ms is not None and body.timeout_ms > settings.timeout_ms:
            raise InvalidRequest(f"at most {settings.timeout_ms}", param="timeout_ms")
        model = models.default
        reformulator = model.reformulator
        options = body.options(settings.timeout_ms)
        texts = [item.text for item in items]
        answer = _Answer(model.name, items, metrics, started)
        if body.stream:
            events = _events(reformulator.stream(texts, options), answer)
            return await while_connected(request, event_response(events, error_name="error"))
        results = await while_connected(request, reformulator.reformulate(texts, options))
        return JSONResponse(answer.whole(results))

    return [endpoints.REFORMULATE.route(reformulate)]


async def _events(events: AsyncIterator[Event], answer: _Answer) -> AsyncIterator[ServerEvent]:
    """The events of a stream; results come in the order of the queries."""
    results: dict[int, QueryResult] = {}
    sent = 0
    async for event in events:
        if isinstance(event, Finished):
            results[event.query_index] = event.result
        else:
            yield ServerEvent("token", asdict(event))
        while sent in results:
            yield ServerEvent("result", answer.result(sent, results[sent]))
            sent += 1
    yield ServerEvent("done", answer.rest([results[index] for index in range(sent)]))


class _Answer:
    """The parts of a response, for one that is sent whole and one that is streamed."""

    def __init__(
        self, model: str, items: Sequence[QueryItem], metrics: Metrics, started: float
    ) -> None:
        self._model = model
        self._items = items
        self._metrics = metrics
        self._started = started

    def result(self, index: int, result: QueryResult) -> Json:
        """What became of one query."""
        if result.fallback_reason is not None:
            self._metrics.fallbacks.labels(result.fallback_reason).inc()
        return result_json(result, self._items[index].id)

    def rest(self, results: Sequence[QueryResult]) -> Json:
        """What belongs to the whole request."""
        prompt = sum(result.prompt_tokens for result in results)
        completion = sum(result.completion_tokens for result in results)
        timings = [result.timings for result in results]
        return ReformulateRest(
            id=f"reformulate-{uuid.uuid4().hex}",
            model=self._model,
            created=int(time.time()),
            timings_ms=TimingsBody(
                queue=_ms(max(result.queue_ms for result in results)),
                tokenize=_ms(sum(t.tokenize for t in timings)),
                encode=_ms(sum(t.encode for t in timings)),
                decode=_ms(sum(t.decode for t in timings)),
                total=_ms(1000 * (time.perf_counter() - self._started)),
            ),
            usage=UsageBody(
                prompt_tokens=prompt,
                completion_tokens=completion,
                total_tokens=prompt + completion,
            ),
        ).model_dump()

    def whole(self, results: Sequence[QueryResult]) -> Json:
        """All of it."""
        rest = self.rest(results)
        head = {name: rest.pop(name) for name in ("id", "model", "created")}
        bodies = [self.result(index, result) for index, result in enumerate(results)]
        return {**head, "results": bodies, **rest}


def _ms(value: float) -> float:
    return round(value, 3)
