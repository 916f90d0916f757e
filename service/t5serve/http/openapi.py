"""The OpenAPI 3.1 document, made from the models that requests and responses really go through."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from t5serve import __version__
from t5serve.http.schemas.body import ErrorResponse
from t5serve.http.schemas.chat import ChatRequest, ChatResponse
from t5serve.http.schemas.completions import CompletionRequest, CompletionResponse
from t5serve.http.schemas.models import ModelBody, ModelList
from t5serve.http.schemas.reformulate import ReformulateRequest, ReformulateResponse
from t5serve.http.schemas.state import Alive, ReadyState

Json = dict[str, Any]
REFERENCE = "#/components/schemas/{model}"
GENERATES = (400, 401, 404, 413, 422, 429, 500, 503, 504)
READS = (401, 404, 500, 503)


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    summary: str
    errors: Sequence[int]
    answer: type[BaseModel] | None = None
    request: type[BaseModel] | None = None
    example: Json = field(default_factory=dict)
    streams: bool = False
    media_type: str = "application/json"
    needs_key: bool = True


OPERATIONS = (
    Operation(
        "post",
        "/v1/reformulate",
        "Reformulate one query or several.",
        GENERATES,
        ReformulateResponse,
        ReformulateRequest,
        {"query": "which are the best python books for beginners", "n": 3},
        streams=True,
    ),
    Operation(
        "post",
        "/v1/completions",
        "OpenAI's legacy completions: the prompt is the encoder's input.",
        GENERATES,
        CompletionResponse,
        CompletionRequest,
        {"model": "tiny-t5", "prompt": "how do i learn python", "temperature": 0},
        streams=True,
    ),
    Operation(
        "post",
        "/v1/chat/completions",
        "OpenAI's chat, for query expanders: reformulations of the user's last message.",
        GENERATES,
        ChatResponse,
        ChatRequest,
        {"model": "tiny-t5", "messages": [{"role": "user", "content": "how do i learn python"}]},
        streams=True,
    ),
    Operation("get", "/v1/models", "The models that are served: one.", READS, ModelList),
    Operation("get", "/v1/models/{id}", "One model.", READS, ModelBody),
    Operation("get", "/healthz", "Whether the process lives.", (500,), Alive, needs_key=False),
    Operation(
        "get", "/readyz", "Whether a model decodes.", (500, 503), ReadyState, needs_key=False
    ),
    Operation("get", "/metrics", "Prometheus metrics.", (401, 500), media_type="text/plain"),
)


class _Untitled(GenerateJsonSchema):
    """Without the titles that pydantic makes of the names of fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 - pydantic's
        return False


@functools.cache
def document() -> Json:
    """The whole document, made once."""
    models: set[type[BaseModel]] = {
        model for one in OPERATIONS for model in (one.request, one.answer) if model is not None
    }
    models.add(ErrorResponse)
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [(model, "validation") for model in ordered],
        ref_template=REFERENCE,
        schema_generator=_Untitled,
    )
    paths: Json = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "t5serve",
            "version": __version__,
            "description": "T5 models as GGUF on an ordinary CPU, to reformulate search queries.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _describe(operation: Operation) -> Json:
    content: Json = {operation.media_type: {}}
    if operation.answer is not None:
        content[operation.media_type] = {"schema": _reference(operation.answer)}
    if operation.streams:
        content["text/event-stream"] = {}  # OpenAPI 3.1 can't describe single events
    responses: Json = {"200": {"description": "OK", "content": content}}
    for status in operation.errors:
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"schema": _reference(ErrorResponse)}},
        }
    described: Json = {
        "operationId": f"{operation.method}_{operation.path.strip('/').replace('/', '_')}",
        "summary": operation.summary,
        "responses": responses,
    }
    if operation.needs_key:
        described["security"] = [{}, {"key": []}]  # none where the service has no keys
    if operation.request is not None:
        body = {"schema": _reference(operation.request), "example": operation.example}
        described["requestBody"] = {"required": True, "content": {"application/json": body}}
    if "{id}" in operation.path:
        described["parameters"] = [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    return described


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": REFERENCE.format(model=model.__name__)}
