"""POST /v1/rerank and /v2/rerank."""

from __future__ import annotations

import time
import uuid

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t5serve.errors import InvalidRequest
from t5serve.http import endpoints
from t5serve.http.routes.connection import read_body, while_connected
from t5serve.http.routes.leases import use_model
from t5serve.http.schemas.body import parse
from t5serve.http.schemas.rerank import (
    DocumentBody,
    RankedBody,
    RerankRequest,
    RerankResponse,
    RerankUsage,
)
from t5serve.models.registry import ModelRegistry
from t5serve.reranking.reranker import Ranking
from t5serve.settings import Settings


def rerank_routes(models: ModelRegistry, settings: Settings) -> list[Route]:
    """Returns the routes of Cohere's and Jina's reranking."""

    async def rerank(request: Request) -> Response:
        body = parse(RerankRequest, await read_body(request, settings.timeout_ms / 1000))
        timeout_ms = min(body.timeout_ms or settings.timeout_ms, settings.timeout_ms)
        deadline = time.monotonic() + timeout_ms / 1000
        model = await use_model(request, models, body.model, timeout_ms / 1000)
        body.check_limits(model.info.max_input_tokens, settings.timeout_ms)
        reranker = model.reranker
        if reranker is None:
            raise InvalidRequest(_explain_model(model.name, models), param="model")
        query = model.admission.fit(body.query, "query")
        work = reranker.rerank(
            query,
            body.texts,
            deadline,
            top_n=body.top_n,
            truncate=body.truncates,
            use_cache=body.cache,
        )
        ranking = await while_connected(request, work)
        return JSONResponse(_build_response(model.name, body, ranking).to_json())

    return [endpoints.RERANK.route(rerank), endpoints.RERANK_V2.route(rerank)]


def _explain_model(name: str, models: ModelRegistry) -> str:
    described = ((slot, slot.describe()) for slot in models)
    rerankers = [slot.name for slot, facts in described if facts and facts[1].relevance]
    others = f"use {' or '.join(rerankers)}" if rerankers else "serve one that has [rerank]"
    return f"{name} does not rerank: its recipe and its file have no [rerank]; {others}"


def _build_response(model: str, body: RerankRequest, ranking: Ranking) -> RerankResponse:
    texts = body.texts
    results = [
        RankedBody(
            index=ranked.index,
            relevance_score=ranked.relevance,
            document=DocumentBody(text=texts[ranked.index]) if body.return_documents else None,
        )
        for ranked in ranking.documents
    ]
    return RerankResponse(
        id=f"rerank-{uuid.uuid4().hex}",
        model=model,
        results=results,
        usage=RerankUsage(total_tokens=ranking.prompt_tokens),
    )
