"""POST /v1/reformulate."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t5serve.errors import ERROR_RESPONSES, DeadlineExceeded, InvalidRequest, RequestError
from t5serve.http import endpoints
from t5serve.http.routes.connection import read_body, while_connected
from t5serve.http.routes.leases import use_model
from t5serve.http.routes.sse import ServerEvent, event_response
from t5serve.http.schemas.body import UsageBody, parse
from t5serve.http.schemas.reformulate import QueryItem, ReformulateRequest
from t5serve.http.schemas.reformulations import ReformulateSummary, TimingsBody, result_json
from t5serve.metrics import Metrics
from t5serve.models.registry import ModelRegistry
from t5serve.reformulation.candidates import original_candidate
from t5serve.reformulation.results import Event, Finished, QueryResult
from t5serve.settings import Settings

Json = dict[str, Any]

FALLBACK_HEADER = "x-t5serve-fallback"
"""Says why an answer has a query itself, for logs and proxies that do not read bodies. A stream has
none: its head is sent before that is known."""


def reformulate_routes(models: ModelRegistry, settings: Settings, metrics: Metrics) -> list[Route]:
    """Returns the route of /v1/reformulate."""

    async def reformulate(request: Request) -> Response:
        started = time.perf_counter()
        body = parse(ReformulateRequest, await read_body(request, settings.timeout_ms / 1000))
        items = body.items()
        if body.timeout_ms is not None and body.timeout_ms > settings.timeout_ms:
            raise InvalidRequest(
                f"timeout_ms: must be at most {settings.timeout_ms}", param="timeout_ms"
            )
        timeout_ms = body.timeout_ms or settings.timeout_ms
        asked = time.perf_counter()
        try:
            model = await use_model(request, models, body.model, timeout_ms / 1000)
        except DeadlineExceeded as error:  # the model is still being loaded
            if body.strict:
                raise
            builder = _AnswerBuilder(models.find(body.model).name, items, metrics, started)
            return await _fall_back(builder, error, is_stream=body.stream)
        options = body.options(settings.timeout_ms, model.profile)
        waited_ms = int(1000 * (time.perf_counter() - asked))
        if waited_ms:
            options = replace(options, timeout_ms=max(1, timeout_ms - waited_ms))
        params = body.params
        task = model.profile.task(options.task)
        history = model.admission.fit_history(options.history, task)
        options = replace(options, history=history)
        texts = [
            model.admission.fit_text(item.text, task, param)
            for item, param in zip(items, params, strict=True)
        ]
        builder = _AnswerBuilder(model.name, items, metrics, started)
        if body.stream:
            events = _events(model.reformulator.stream(texts, options, params), builder)
            return await while_connected(request, event_response(events, error_name="error"))
        work = model.reformulator.reformulate(texts, options, params)
        return _answer(builder, await while_connected(request, work))

    return [endpoints.REFORMULATE.route(reformulate)]


def fallback_body(model: str, query: str, reason: str) -> Json:
    """Builds the answer to one query for which nothing was decoded.

    Args:
        model: the name of the model.
        query: the query, which is the result.
        reason: the error code of what prevented a reformulation.
    """
    builder = _AnswerBuilder(model, [QueryItem.model_construct(text=query)], None, 0.0)
    return builder.build(builder.fall_back(reason))


async def _fall_back(builder: _AnswerBuilder, error: RequestError, *, is_stream: bool) -> Response:
    """Answers with the queries themselves."""
    results = builder.fall_back(ERROR_RESPONSES[type(error)].code or "")

    async def finish() -> AsyncIterator[Event]:
        for index, result in enumerate(results):
            yield Finished(index, result)

    if is_stream:
        return await event_response(_events(finish(), builder), error_name="error")
    return _answer(builder, results)


def _answer(builder: _AnswerBuilder, results: Sequence[QueryResult]) -> Response:
    """Builds the answer of a request that does not stream."""
    reasons = dict.fromkeys(filter(None, (result.fallback_reason for result in results)))
    headers = {FALLBACK_HEADER: ", ".join(reasons)} if reasons else None
    return JSONResponse(builder.build(results), headers=headers)


async def _events(
    events: AsyncIterator[Event], builder: _AnswerBuilder
) -> AsyncIterator[ServerEvent]:
    """Yields the events of a stream; results come in the order of the queries."""
    results: dict[int, QueryResult] = {}
    next_index = 0  # of the next result to send
    async for event in events:
        if isinstance(event, Finished):
            results[event.query_index] = event.result
        else:
            yield ServerEvent("token", asdict(event))
        while next_index in results:
            result = results[next_index]
            yield ServerEvent("result", builder.build_result(next_index, result))
            next_index += 1
    ordered = [results[index] for index in range(next_index)]
    yield ServerEvent("done", builder.build_summary(ordered))


class _AnswerBuilder:
    """Builds the parts of an answer, which is sent whole or streamed."""

    def __init__(
        self, model: str, items: Sequence[QueryItem], metrics: Metrics | None, started: float
    ) -> None:
        self._model = model
        self._items = items
        self._metrics = metrics
        self._started = started

    def fall_back(self, reason: str) -> list[QueryResult]:
        """Returns results that are the queries themselves."""
        texts = [item.text for item in self._items]
        return [QueryResult(text, [original_candidate(text)], reason) for text in texts]

    def build_result(self, index: int, result: QueryResult) -> Json:
        """Builds the result of one query, and counts it if it is a fallback."""
        if result.fallback_reason is not None and self._metrics is not None:
            self._metrics.fallbacks.labels(self._model, result.fallback_reason).inc()
        item = self._items[index]
        return result_json(replace(result, original=item.text), item.id)

    def build_summary(self, results: Sequence[QueryResult]) -> Json:
        """Builds the fields that concern the whole request: id, model, timings, usage."""
        prompt = sum(result.prompt_tokens for result in results)
        completion = sum(result.completion_tokens for result in results)
        timings = [result.timings for result in results]
        return ReformulateSummary(
            id=f"reformulate-{uuid.uuid4().hex}",
            model=self._model,
            created=int(time.time()),
            timings_ms=TimingsBody(
                queue=_round_ms(max(result.queue_ms for result in results)),
                tokenize=_round_ms(sum(timing.tokenize for timing in timings)),
                encode=_round_ms(sum(timing.encode for timing in timings)),
                decode=_round_ms(sum(timing.decode for timing in timings)),
                total=_round_ms(1000 * (time.perf_counter() - self._started)),
            ),
            usage=UsageBody(
                prompt_tokens=prompt,
                completion_tokens=completion,
                total_tokens=prompt + completion,
            ),
        ).model_dump()

    def build(self, results: Sequence[QueryResult]) -> Json:
        """Builds the whole builder."""
        summary = self.build_summary(results)
        head = {name: summary.pop(name) for name in ("id", "model", "created")}
        bodies = [self.build_result(index, result) for index, result in enumerate(results)]
        return {**head, "results": bodies, **summary}


def _round_ms(value: float) -> float:
    return round(value, 3)
