"""POST /v1/reformulate."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t5gguf.recipe import Recipe
from t5serve.engine.engine import Engine
from t5serve.errors import InvalidRequest, NotReady
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Options, Reformulated, Reformulator
from t5serve.routes.connection import read_body, while_connected
from t5serve.schemas.body import parse
from t5serve.schemas.reformulate import (
    QueryItem,
    ReformulateRequest,
    ReformulateResponse,
    ReformulationBody,
    ResultBody,
    TimingsBody,
    UsageBody,
)
from t5serve.settings import Settings


def reformulate_routes(engine: Engine, settings: Settings, recipe: Recipe | None) -> list[Route]:
    """The native endpoint."""

    async def reformulate(request: Request) -> Response:
        started = time.perf_counter()
        body = parse(ReformulateRequest, await read_body(request, settings.timeout_ms / 1000))
        items = body.items()
        if len(items) > settings.max_queries:
            raise InvalidRequest(
                f"{len(items)} queries, at most {settings.max_queries} are taken", param="queries"
            )
        if body.timeout_ms is not None and body.timeout_ms > settings.timeout_ms:
            raise InvalidRequest(f"at most {settings.timeout_ms}", param="timeout_ms")
        if engine.model is None:
            raise NotReady(f"the service is {engine.state}")
        reformulator = Reformulator(engine, Profile.of(engine.model, recipe))
        options = Options(
            task=body.task,
            max_tokens=body.max_tokens,
            strict=body.strict,
            timeout_ms=body.timeout_ms or settings.timeout_ms,
        )
        results = await while_connected(
            request, reformulator.reformulate([item.text for item in items], options)
        )
        total = 1000 * (time.perf_counter() - started)
        response = _respond(engine.model.name, items, results, total)
        return JSONResponse(response.model_dump(exclude_unset=True))

    return [Route("/v1/reformulate", reformulate, methods=["POST"])]


def _respond(
    model: str, items: Sequence[QueryItem], results: Sequence[Reformulated], total_ms: float
) -> ReformulateResponse:
    prompt = sum(result.prompt_tokens for result in results)
    completion = sum(result.completion_tokens for result in results)
    timings = [result.timings for result in results]
    return ReformulateResponse(
        id=f"reformulate-{uuid.uuid4().hex}",
        model=model,
        created=int(time.time()),
        results=[_result(item, result) for item, result in zip(items, results, strict=True)],
        timings_ms=TimingsBody(
            queue=_ms(max(result.queue_ms for result in results)),
            tokenize=_ms(sum(t.tokenize for t in timings)),
            encode=_ms(sum(t.encode for t in timings)),
            decode=_ms(sum(t.decode for t in timings)),
            total=_ms(total_ms),
        ),
        usage=UsageBody(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
        ),
    )


def _result(item: QueryItem, result: Reformulated) -> ResultBody:
    given = {} if item.id is None else {"id": item.id}  # a result has an id if its query had
    return ResultBody(
        **given,
        original=result.original,
        queries=[one.text for one in result.reformulations],
        reformulations=[ReformulationBody(**vars(one)) for one in result.reformulations],
        fallback=result.fallback_reason is not None,
        fallback_reason=result.fallback_reason,
        cached=False,
    )


def _ms(value: float) -> float:
    return round(value, 3)
