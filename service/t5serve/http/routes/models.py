"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

import time

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t5engine.messages import ModelInfo
from t5gguf.recipe import Generation
from t5serve.http import endpoints
from t5serve.http.schemas.models import AliasBody, ModelBody, ModelList
from t5serve.models.registry import ModelRegistry
from t5serve.models.slot import ModelSlot
from t5serve.reformulation.profile import Profile

NOTHING = ModelInfo("", "", 0, 0, 0, {})  # the facts of a model that was never loaded


def model_routes(models: ModelRegistry) -> list[Route]:
    """Returns the routes of OpenAI's list of models."""
    created = int(time.time())

    async def list_models(_request: Request) -> Response:
        bodies = [_describe(slot, created) for slot in models]
        return JSONResponse(ModelList(data=bodies).model_dump())

    async def get_model(request: Request) -> Response:
        name = request.path_params["id"]
        if not name:
            raise HTTPException(404)
        return JSONResponse(_describe(models.find(name), created).model_dump())

    return [
        endpoints.MODELS.route(list_models),
        endpoints.MODEL.route(get_model),
    ]


def _describe(slot: ModelSlot, created: int) -> ModelBody:
    """Describes a model.

    Raises:
        NotReady: the model is not loaded yet, and only its file has the name.
    """
    described = slot.describe()
    info, profile = described or (NOTHING, Profile({}, Generation()))
    return ModelBody(
        id=slot.name,
        created=created,
        state=slot.state,
        failure=slot.failure,
        description=info.description,
        tasks=profile.prefixes,
        aliases={
            name: AliasBody(questions=alias.questions, keywords=alias.keywords)
            for name, alias in profile.aliases.items()
        },
        n={name: task.n for name, task in profile.tasks.items()},
        templates=profile.templates,
        separators=profile.separators,
        reranks=profile.relevance is not None,
        max_input_tokens=info.max_input_tokens,
        max_tokens=info.max_tokens,
        generation=profile.generation.given() if described else {},
    )
