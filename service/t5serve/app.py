"""The application: wiring and lifespan."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp

from t5gguf.recipe import Recipe
from t5serve import __version__, logs
from t5serve.admission import Admission
from t5serve.auth import ApiKeys, read_keys
from t5serve.engine.engine import Engine, Result
from t5serve.errors import (
    InvalidRequest,
    MethodNotAllowed,
    RequestError,
    RouteNotFound,
    ServerFault,
    StartupError,
)
from t5serve.fingerprint import Fingerprint
from t5serve.metrics import Metrics
from t5serve.middleware import BodyLimit, RequestContext
from t5serve.responses import error_response
from t5serve.routes.chat import chat_routes
from t5serve.routes.completions import completion_routes
from t5serve.routes.health import health_routes
from t5serve.routes.models import model_routes
from t5serve.routes.page import page_routes
from t5serve.routes.reference import reference_routes
from t5serve.routes.reformulate import reformulate_routes
from t5serve.settings import Settings

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    engine: Engine,
    model: Path,
    recipe: Recipe | None = None,
    on_failure: Callable[[], None] = lambda: None,
) -> ASGIApp:
    """Puts the service together.

    Args:
        settings: limits, deadlines and keys.
        engine: not started yet; the lifespan starts and closes it.
        model: the GGUF file.
        recipe: of the model, if it was named by one.
        on_failure: called when no worker will ever be ready.

    Raises:
        StartupError: a setting that can't be.
    """
    metrics = Metrics()
    metrics.watch_engine(engine)

    def on_generated(result: Result) -> None:
        metrics.generated(result.generated, result.queue_ms)
        logs.generated(result.generated, result.queue_ms, result.ipc_ms)

    engine.on_generated = on_generated
    admission = Admission(engine, settings)
    fingerprint = Fingerprint(model)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        engine.start()
        fingerprint.start()
        watch = asyncio.create_task(_announce(engine, metrics, on_failure))
        try:
            yield
        finally:
            await engine.close(settings.drain_seconds)
            await watch

    routes = [
        *health_routes(engine, metrics),
        *model_routes(admission, recipe),
        *reformulate_routes(engine, settings, admission, metrics, recipe),
        *completion_routes(engine, settings, admission, fingerprint, recipe),
        *chat_routes(engine, settings, admission, fingerprint, recipe),
        *reference_routes(),
        *page_routes(),
    ]
    app = Starlette(
        routes=routes,
        middleware=_middleware(settings),
        exception_handlers={
            RequestError: _answer_error,
            HTTPException: _answer_http,
            ClientDisconnect: _answer_nobody,
            Exception: _answer_fault,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    paths = {route.endpoint: route.path for route in routes}
    return RequestContext(app, metrics, paths)  # around Starlette's own handling of faults


def _middleware(settings: Settings) -> list[Middleware]:
    """From the outside in."""
    middleware = [Middleware(BodyLimit, max_bytes=settings.max_body_bytes)]
    if settings.api_keys_file is not None:
        middleware.insert(0, Middleware(ApiKeys, keys=read_keys(settings.api_keys_file)))
    if settings.cors_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # clients have their own; no cookies are taken
            expose_headers=["x-request-id", "x-processing-ms", "retry-after"],
        )
        middleware.insert(0, cors)  # outside of the keys: a preflight carries none
    return middleware


async def _announce(engine: Engine, metrics: Metrics, on_failure: Callable[[], None]) -> None:
    """Says once that the service is ready, or ends it if it never will be."""
    try:
        model = await engine.ready()
    except StartupError:
        on_failure()
    else:
        metrics.loaded(model, __version__)
        logger.info("ready: %s (%s)", model.name, model.description)


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
    return Response(status_code=499)  # nginx's; seen in logs and metrics only


async def _answer_fault(_request: Request, _error: Exception) -> Response:
    return error_response(ServerFault("internal error"))  # uvicorn logs it
