"""The OpenAPI 3.1 document, built from the models that parse requests and build responses."""

from __future__ import annotations

import functools
import re
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from t5serve import __version__
from t5serve.http.endpoints import DESCRIBED_ENDPOINTS, Endpoint
from t5serve.http.schemas.body import ErrorResponse

Json = dict[str, Any]
SCHEMA_REFERENCE = "#/components/schemas/{model}"


class _Untitled(GenerateJsonSchema):
    """Generates schemas without the titles that pydantic derives from field names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 - pydantic's
        return False


@functools.cache
def build_document() -> Json:
    """Builds the document; later calls return the same one."""
    models: set[type[BaseModel]] = {
        model
        for endpoint in DESCRIBED_ENDPOINTS
        for model in (endpoint.request, endpoint.response)
        if model is not None
    }
    models.add(ErrorResponse)
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [(model, "validation") for model in ordered],
        ref_template=SCHEMA_REFERENCE,
        schema_generator=_Untitled,
    )
    paths: Json = {}
    for endpoint in DESCRIBED_ENDPOINTS:
        paths.setdefault(_path(endpoint), {})[endpoint.method.lower()] = _describe_operation(
            endpoint
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "t5serve",
            "version": __version__,
            "description": "Reformulates search queries with T5 models in GGUF on an ordinary CPU.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _path(endpoint: Endpoint) -> str:
    """Returns the path without Starlette's convertors."""
    return re.sub(r":\w+}", "}", endpoint.path)


def _describe_operation(endpoint: Endpoint) -> Json:
    content: Json = {endpoint.media_type: {}}
    if endpoint.response is not None:
        content[endpoint.media_type] = {"schema": _reference(endpoint.response)}
    if endpoint.answers:
        content[endpoint.media_type]["examples"] = {
            f"answer{number}": {"summary": summary, "value": answer}
            for number, (summary, answer) in enumerate(endpoint.answers.items(), 1)
        }
    if endpoint.streams:
        content["text/event-stream"] = {}  # OpenAPI 3.1 can't describe single events
    responses: Json = {"200": {"description": "OK", "content": content}}
    for status in endpoint.errors:
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"schema": _reference(ErrorResponse)}},
        }
    path = _path(endpoint)
    operation: Json = {
        "operationId": f"{endpoint.method.lower()}_{path.strip('/').replace('/', '_')}",
        "summary": endpoint.summary,
        "responses": responses,
    }
    if endpoint.needs_key:
        operation["security"] = [{}, {"key": []}]  # no security if the service has no keys
    if endpoint.request is not None:
        body = {"schema": _reference(endpoint.request), "example": endpoint.example}
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    if "{id}" in path:
        operation["parameters"] = [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    return operation


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": SCHEMA_REFERENCE.format(model=model.__name__)}
