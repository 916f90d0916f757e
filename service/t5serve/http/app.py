"""The application: wiring and lifespan."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp

from t5engine.errors import JobError
from t5engine.messages import Judged
from t5engine.pool.result import Result
from t5serve import logs
from t5serve.errors import (
    InvalidRequest,
    MethodNotAllowed,
    RequestError,
    RouteNotFound,
    ServerFault,
    excerpt,
    request_error,
)
from t5serve.http.access import Access
from t5serve.http.auth import ApiKeys
from t5serve.http.cors import CrossOrigin
from t5serve.http.endpoints import suggest_path
from t5serve.http.hosts import AllowedHosts
from t5serve.http.middleware import BodyLimit, RequestContext
from t5serve.http.rates import RateLimit
from t5serve.http.responses import error_response
from t5serve.http.routes.admin import admin_routes
from t5serve.http.routes.chat import chat_routes
from t5serve.http.routes.completions import completion_routes
from t5serve.http.routes.health import health_routes
from t5serve.http.routes.leases import ModelLeases
from t5serve.http.routes.models import model_routes
from t5serve.http.routes.page import page_routes
from t5serve.http.routes.reference import reference_routes
from t5serve.http.routes.reformulate import FALLBACK_HEADER, reformulate_routes
from t5serve.http.routes.rerank import rerank_routes
from t5serve.metrics import Metrics
from t5serve.models.cached_engine import Lookup
from t5serve.models.registry import ModelRegistry
from t5serve.models.reload import Reloader
from t5serve.models.slot import ModelSlot
from t5serve.settings import Settings

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    models: ModelRegistry,
    access: Access | None = None,
    metrics: Metrics | None = None,
    reloader: Reloader | None = None,
    *,
    on_failure: Callable[[], None] = lambda: None,
) -> ASGIApp:
    """Builds the ASGI application.

    Args:
        settings: limits, deadlines and keys.
        models: the models to serve; the lifespan starts and closes them.
        access: who may use the service; None: as the settings say.
        metrics: the metrics to count in; None: new ones.
        reloader: reads keys, models and lexicons again; None: a new one.
        on_failure: called when no model is left that could answer.

    Raises:
        StartupError: a setting is invalid.
    """
    metrics = metrics or Metrics()
    access = access or Access.from_settings(settings)

    reloader = reloader or Reloader(settings, models, access.reload)

    def on_generated(model: str, result: Result) -> None:
        metrics.record_generation(model, result.generated, result.queue_ms)
        logs.record_generation(result.generated, result.queue_ms, result.ipc_ms)

    def on_judged(model: str, judged: Judged, queue_ms: float, ipc_ms: float) -> None:
        metrics.record_judged(model, judged, queue_ms)
        logs.record_judged(judged, queue_ms, ipc_ms)

    def on_lookup(model: str, lookup: Lookup) -> None:
        metrics.cache_lookups.labels(model, lookup).inc()
        if lookup != "miss":
            logs.record_cached()

    models.factory.on_generated = on_generated
    models.factory.on_judged = on_judged
    models.factory.on_lookup = on_lookup
    metrics.watch_models(lambda: [slot.gauges() for slot in models])
    reloader.on_reload = metrics.record_reload

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        models.start(_announce, on_failure)
        try:
            yield
        finally:
            await reloader.close()
            await models.close()  # drained already

    routes = [
        *health_routes(models, metrics),
        *admin_routes(reloader, access),
        *model_routes(models),
        *reformulate_routes(models, settings, metrics),
        *completion_routes(models, settings),
        *chat_routes(models, settings),
        *rerank_routes(models, settings),
        *reference_routes(),
        *page_routes(),
    ]
    app = Starlette(
        routes=routes,
        middleware=_middleware(settings, access),
        exception_handlers={
            RequestError: _answer_request_error,
            JobError: _answer_job_error,
            HTTPException: _answer_http_exception,
            ClientDisconnect: _answer_disconnect,
            Exception: _answer_fault,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    paths = {route.endpoint: route.path for route in routes}
    return RequestContext(app, metrics, paths)  # outside Starlette's own handler of exceptions


def _middleware(settings: Settings, access: Access) -> list[Middleware]:
    """Lists the middleware, outermost first."""
    middleware = []
    if access.hosts is not None:
        middleware.append(Middleware(AllowedHosts, names=access.hosts))
    if settings.cors_origins:  # outside ApiKeys: a preflight request carries no key
        cors = Middleware(
            CrossOrigin,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # clients add headers of their own; the service uses no cookies
            expose_headers=["x-request-id", "x-processing-ms", "retry-after", FALLBACK_HEADER],
        )
        middleware.append(cors)
    if access.keys is not None or access.admin_keys is not None:
        middleware.append(Middleware(ApiKeys, keys=access.keys, admin_keys=access.admin_keys))
    if access.rates is not None:  # inside ApiKeys: each key counts
        middleware.append(Middleware(RateLimit, rates=access.rates))
    body_limit = Middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    return [*middleware, body_limit, Middleware(ModelLeases)]


def _announce(slot: ModelSlot) -> None:
    info = slot.loaded().info
    logger.info("ready: %s (%s)", slot.name, info.description)
    _freeze_memory()


def _freeze_memory() -> None:
    """Excludes what a ready service has from garbage collections.

    Without this a full collection takes 50 ms, in the middle of a request.
    """
    gc.unfreeze()  # an earlier model may be gone
    gc.collect()
    gc.freeze()


async def _answer_request_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        raise error
    return error_response(error)


async def _answer_job_error(_request: Request, error: Exception) -> Response:
    """Answers an error of the engine that no route attributes to a field."""
    if not isinstance(error, JobError):
        raise error
    return error_response(request_error(error))


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    """Answers an error that Starlette raises: unknown paths, methods, malformed requests."""
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    path = excerpt(request.url.path)
    if error.status_code == 404:
        message = f"the path {path} does not exist; {suggest_path(request.url.path)}"
        return error_response(RouteNotFound(message), headers)
    if error.status_code == 405:
        message = f"{path} does not support {request.method}; use {headers.get('Allow', 'GET')}"
        return error_response(MethodNotAllowed(message), headers)
    return error_response(InvalidRequest(str(error.detail)), headers)


async def _answer_disconnect(_request: Request, _error: Exception) -> Response:
    """Ends a request whose client left before the request was complete."""
    return Response(status_code=499)  # nginx's status; only logs and metrics show it


async def _answer_fault(_request: Request, _error: Exception) -> Response:
    return error_response(ServerFault("internal error"))  # uvicorn logs it
