"""The application: wiring and lifespan."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from t5gguf.recipe import Recipe
from t5serve.engine.engine import Engine
from t5serve.errors import (
    ANSWERS,
    InvalidRequest,
    MethodNotAllowed,
    RequestError,
    RouteNotFound,
    ServerFault,
    StartupError,
    error_body,
)
from t5serve.middleware import BodyLimit, RequestContext
from t5serve.routes.health import health_routes
from t5serve.routes.reformulate import reformulate_routes
from t5serve.settings import Settings

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    engine: Engine,
    recipe: Recipe | None = None,
    on_failure: Callable[[], None] = lambda: None,
) -> ASGIApp:
    """Puts the service together.

    Args:
        settings: limits and deadlines.
        engine: not started yet; the lifespan starts and closes it.
        recipe: of the model, if it was named by one.
        on_failure: called when no worker will ever be ready.
    """

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        engine.start()
        watch = asyncio.create_task(_announce(engine, on_failure))
        try:
            yield
        finally:
            await engine.close(settings.drain_seconds)
            await watch

    app = Starlette(
        routes=[*health_routes(engine), *reformulate_routes(engine, settings, recipe)],
        middleware=[
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
        ],
        exception_handlers={
            RequestError: _answer_error,
            HTTPException: _answer_http,
            ClientDisconnect: _answer_nobody,
            Exception: _answer_fault,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return RequestContext(app)  # around Starlette's own handling of faults


async def _announce(engine: Engine, on_failure: Callable[[], None]) -> None:
    """Says once that the service is ready, or ends it if it never will be."""
    try:
        model = await engine.ready()
    except StartupError:
        on_failure()
    else:
        logger.info("ready: %s (%s)", model.name, model.description)


def error_response(error: RequestError, headers: dict[str, str] | None = None) -> Response:
    """An error's status, headers and body."""
    answer = ANSWERS[type(error)]
    return JSONResponse(
        error_body(error),
        status_code=answer.status,
        headers={**answer.headers, **(headers or {})},
    )


async def _answer_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        raise error
    return error_response(error)


async def _answer_http(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: paths, methods, malformed requests."""
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return error_response(RouteNotFound(f"there is no {request.url.path}"), headers)
    if error.status_code == 405:
        message = f"{request.url.path} does not take {request.method}"
        return error_response(MethodNotAllowed(message), headers)
    return error_response(InvalidRequest(str(error.detail)), headers)


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    """The client left before its request was whole."""
    return Response(status_code=400)


async def _answer_fault(_request: Request, _error: Exception) -> Response:
    return error_response(ServerFault("internal error"))  # uvicorn logs it
