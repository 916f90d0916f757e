"""Runs the service with uvicorn, from loading the model to an orderly end."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from types import FrameType
from typing import cast

import uvicorn

from t5serve import logs
from t5serve.errors import StartupError
from t5serve.http.app import create_app
from t5serve.http.descriptors import plan_descriptors
from t5serve.http.protocol import ConnectionLimits, Protocol
from t5serve.log_writer import LogWriter
from t5serve.models.registry import ModelRegistry
from t5serve.models.served_model import ServedModel
from t5serve.settings import Settings


def serve(settings: Settings) -> None:
    """Serves until a signal ends it.

    Raises:
        StartupError: the model can't be served.
    """
    log = logs.configure(settings.log_level, settings.log_format)
    models = ModelRegistry([ServedModel.from_settings(settings)])

    descriptors = plan_descriptors(settings.max_connections, settings.workers)
    limits = ConnectionLimits(descriptors.max_connections, settings.head_seconds)

    def give_up() -> None:
        server.should_exit = True

    server = _Server(
        uvicorn.Config(
            create_app(settings, models, log, on_failure=give_up),
            host=settings.host,
            port=settings.port,
            http=cast("type[asyncio.Protocol]", partial(Protocol, limits=limits)),
            ws="none",
            backlog=descriptors.backlog,
            timeout_keep_alive=settings.keep_alive_seconds,
            log_config=None,  # uvicorn logs through the handler of t5serve.logs
            access_log=False,  # RequestContext logs requests, with more fields
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=settings.drain_seconds,
        ),
        models,
        log,
    )
    server.run()
    for model in models:
        if model.engine.failure is not None:
            raise StartupError(model.engine.failure)


class _Server(uvicorn.Server):
    """Drains the engines as soon as a signal arrives, so that open connections notice."""

    def __init__(self, config: uvicorn.Config, models: ModelRegistry, log: LogWriter) -> None:
        super().__init__(config)
        self._models = models
        self._log = log

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super()._serve(sockets)
        finally:
            self._log.flush()  # next uvicorn raises the signal again, which ends the process

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        for model in self._models:
            model.engine.drain()
        super().handle_exit(sig, frame)
