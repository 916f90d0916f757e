"""GET /v1/models and /v1/models/{id}: which model is served."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t5gguf.recipe import Recipe
from t5serve.admission import Admission
from t5serve.errors import ModelNotFound
from t5serve.reformulation.profile import Profile
from t5serve.schemas.models import ModelBody, ModelList
from t5serve.wire import ModelInfo


def model_routes(admission: Admission, recipe: Recipe | None) -> list[Route]:
    """OpenAI's list of models, of one."""
    created = int(time.time())

    def describe(model: ModelInfo) -> ModelBody:
        profile = Profile.of(model, recipe)
        return ModelBody(
            id=model.name,
            created=created,
            description=model.description,
            tasks=profile.tasks,
            max_input_tokens=model.max_input_tokens,
            max_tokens=model.max_tokens,
            generation=profile.generation.given(),
        )

    async def models(_request: Request) -> Response:
        return JSONResponse(ModelList(data=[describe(admission.model())]).model_dump())

    async def model(request: Request) -> Response:
        return JSONResponse(describe(named(admission, request.path_params["id"])).model_dump())

    return [
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{id:path}", model, methods=["GET"]),
    ]


def named(admission: Admission, name: str) -> ModelInfo:
    """The model, if that is its name.

    Raises:
        ModelNotFound: it has another one.
    """
    model = admission.model()
    if name != model.name:
        raise ModelNotFound(
            f"there is no model {name!r} here; there is {model.name!r}", param="model"
        )
    return model
