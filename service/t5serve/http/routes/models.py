"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

import time

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t5serve.http import endpoints
from t5serve.http.schemas.models import ModelBody, ModelList
from t5serve.models.registry import ModelRegistry
from t5serve.models.served_model import ServedModel


def model_routes(models: ModelRegistry) -> list[Route]:
    """Returns the routes of OpenAI's list of models."""
    created = int(time.time())

    def describe(model: ServedModel) -> ModelBody:
        return ModelBody(
            id=model.name,
            created=created,
            description=model.info.description,
            tasks=model.profile.prefixes,
            separators=model.profile.separators,
            max_input_tokens=model.info.max_input_tokens,
            max_tokens=model.info.max_tokens,
            generation=model.profile.generation.given(),
        )

    async def list_models(_request: Request) -> Response:
        return JSONResponse(ModelList(data=[describe(model) for model in models]).model_dump())

    async def get_model(request: Request) -> Response:
        name = request.path_params["id"]
        if not name:
            raise HTTPException(404)
        return JSONResponse(describe(models.find(name)).model_dump())

    return [
        endpoints.MODELS.route(list_models),
        endpoints.MODEL.route(get_model),
    ]
