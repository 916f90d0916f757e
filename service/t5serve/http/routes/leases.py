"""Keeps a model loaded until the requests that use it have been answered."""

from __future__ import annotations

from contextlib import ExitStack

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from t5serve.http.routes.connection import while_connected
from t5serve.models.registry import ModelRegistry
from t5serve.models.served_model import ServedModel


class ModelLeases:
    """Releases the models that a request uses, after the last byte of its response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with ExitStack() as leases:
            scope["leases"] = leases
            await self._app(scope, receive, send)


async def use_model(
    request: Request, models: ModelRegistry, name: str | None, seconds: float
) -> ServedModel:
    """Returns the model of a name, for as long as the request lasts.

    Args:
        request: the request, whose body has been read.
        models: the served models.
        name: the name; None: the default.
        seconds: the time that loading the model may take.

    Raises:
        ModelNotFound: no model has this name.
        NotReady: the model can't be loaded.
        DeadlineExceeded: the model is not loaded in time.
        ClientDisconnect: the client left.
    """
    is_loaded = models.find(name).model is not None
    work = models.use(name, seconds, request.scope["leases"])
    return await (work if is_loaded else while_connected(request, work))
