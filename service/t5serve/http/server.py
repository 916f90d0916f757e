"""Runs the service with uvicorn, from loading the model to an orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn

from t5serve import logs
from t5serve.errors import StartupError
from t5serve.http.access import Access
from t5serve.http.app import create_app
from t5serve.http.descriptors import plan_descriptors
from t5serve.http.early_answers import EarlyAnswers
from t5serve.http.early_protocol import EarlyProtocol
from t5serve.http.protocol import ConnectionLimits
from t5serve.log_writer import LogWriter
from t5serve.metrics import Metrics
from t5serve.models.registry import ModelRegistry
from t5serve.models.reload import Reloader
from t5serve.settings import Settings

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 1  # after the drain, to send the answers to what it cut off


def serve(settings: Settings) -> None:
    """Serves until a signal ends it.

    Raises:
        StartupError: the model can't be served.
    """
    if hasattr(signal, "SIGHUP"):  # until the loop handles it: it would end the process
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    log = logs.configure(settings.log_level, settings.log_format)
    models = ModelRegistry.from_settings(settings)

    workers = 2 * sum(slot.declaration.workers for slot in models)  # a reload starts more
    descriptors = plan_descriptors(settings.max_connections, workers)
    limits = ConnectionLimits(descriptors.max_connections, settings.head_seconds)

    access, metrics = Access.from_settings(settings), Metrics()
    metrics.watch_log(log)
    early = EarlyAnswers(settings, models, access, metrics)
    reloader = Reloader(settings, models, access.reload)

    def give_up() -> None:
        server.should_exit = True

    server = _Server(
        uvicorn.Config(
            create_app(settings, models, access, metrics, reloader, on_failure=give_up),
            host=settings.host,
            port=settings.port,
            http=cast("type[asyncio.Protocol]", partial(EarlyProtocol, limits=limits, early=early)),
            ws="none",
            backlog=descriptors.backlog,
            timeout_keep_alive=settings.keep_alive_seconds,
            log_config=None,  # uvicorn logs through the handler of t5serve.logs
            access_log=False,  # RequestContext logs requests, with more fields
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=settings.drain_seconds + ANSWER_SECONDS,
        ),
        models,
        log,
        early,
        reloader,
        settings.drain_seconds,
    )
    server.run()
    if models.failure is not None:
        raise StartupError(models.failure)


class _Server(uvicorn.Server):
    """Drains the engines as soon as a signal arrives, so that open connections notice."""

    def __init__(
        self,
        config: uvicorn.Config,
        models: ModelRegistry,
        log: LogWriter,
        early: EarlyAnswers,
        reloader: Reloader,
        drain_seconds: float,
    ) -> None:
        super().__init__(config)
        self._models = models
        self._log = log
        self._early = early
        self._reloader = reloader
        self._drain_seconds = drain_seconds
        self._loop: asyncio.AbstractEventLoop | None = None

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_LoopErrors())
        if hasattr(signal, "SIGHUP"):
            self._loop.add_signal_handler(signal.SIGHUP, self._reloader.reload_soon)
        try:
            await super()._serve(sockets)
        finally:
            self._early.log_counts()
            self._log.flush()  # next uvicorn raises the signal again, which ends the process

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit and self._loop is not None:
            # A signal handler interrupts whatever runs: the loop calls it in between.
            self._loop.call_soon_threadsafe(self._drain)
        super().handle_exit(sig, frame)

    def _drain(self) -> None:
        self._models.drain(self._drain_seconds)


class _LoopErrors:
    """Logs errors of the event loop, one line a second for each message.

    Without descriptors asyncio reports every failed accept, thousands a second.
    """

    def __init__(self) -> None:
        self._logged: dict[str, float] = {}

    def __call__(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        message = str(context.get("message", "the event loop has an error"))
        now = time.monotonic()
        if now - self._logged.get(message, -1.0) < 1.0:
            return
        self._logged[message] = now
        error = context.get("exception")
        is_expected = isinstance(error, OSError)
        logger.error("%s: %s", message, error, exc_info=None if is_expected else error)
