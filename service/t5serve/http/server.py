"""Runs the service with uvicorn, from loading the model to an orderly end."""

from __future__ import annotations

import asyncio
import logging
import os
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
from t5serve.http.connection import ConnectionLimits
from t5serve.http.descriptors import plan_descriptors
from t5serve.http.early_answers import EarlyAnswers
from t5serve.http.early_protocol import EarlyProtocol
from t5serve.http.listening import format_address, open_sockets
from t5serve.log_writer import LogWriter
from t5serve.metrics import Metrics
from t5serve.models.cache import ResultCache
from t5serve.models.registry import ModelRegistry
from t5serve.models.reload import Reloader
from t5serve.settings import Settings

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 1  # after the drain, to send the answers to what it cut off


def serve(settings: Settings) -> None:
    """Serves until a signal ends it.

    Raises:
        StartupError: the model can't be served.
        KeyboardInterrupt: a second Ctrl-C cut off what ran.
    """
    if hasattr(signal, "SIGHUP"):  # until the loop handles it: it would end the process
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    log = logs.configure(settings.log_level, settings.log_format)
    if settings.api_keys_file is None and os.environ.get("T5SERVE_API_KEY"):
        logger.warning(
            "T5SERVE_API_KEY is the key of a client; this service requires no key. To require keys,"
            " set T5SERVE_API_KEYS_FILE"
        )
    cache = ResultCache.from_settings(settings)
    models = ModelRegistry.from_settings(settings, cache)

    workers = sum(slot.declaration.demand.most_workers for slot in models)
    descriptors = plan_descriptors(settings.max_connections, 2 * workers)  # a reload starts more
    sockets = open_sockets(settings.host, settings.port, descriptors.backlog)
    limits = ConnectionLimits(descriptors.max_connections, settings.head_seconds)

    access, metrics = Access.from_settings(settings), Metrics()
    metrics.watch_log(log)
    if cache is not None:
        metrics.watch_cache(cache)
    early = EarlyAnswers(settings, models, access, metrics)
    reloader = Reloader(settings, models, access.reload)

    def give_up() -> None:
        server.should_exit = True

    server = _Server(
        uvicorn.Config(
            create_app(settings, models, access, metrics, reloader, on_failure=give_up),
            http=cast("type[asyncio.Protocol]", partial(EarlyProtocol, limits=limits, early=early)),
            ws="none",
            backlog=descriptors.backlog,
            timeout_keep_alive=settings.keep_alive_seconds,
            log_config=None,  # uvicorn logs through the handler of t5serve.logs
            access_log=False,  # RequestContext logs requests, with more fields
            lifespan="on",
            server_header=False,
            headers=[("x-content-type-options", "nosniff")],
            timeout_graceful_shutdown=settings.drain_seconds + ANSWER_SECONDS,
        ),
        models,
        log,
        early,
        reloader,
        settings.drain_seconds,
    )
    server.run(sockets)
    if server.is_aborted:
        raise KeyboardInterrupt
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
        self.is_aborted = False

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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            logger.info("listening on http://%s (Ctrl-C ends)", format_address(host, port))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # A signal handler interrupts whatever runs: the loop calls the method in between.
        is_first = not self.should_exit
        if self._loop is not None and (is_first or sig == signal.SIGINT):
            self._loop.call_soon_threadsafe(self._drain if is_first else self._abort)
        if is_first:  # uvicorn would raise a second signal in the middle of its end
            super().handle_exit(sig, frame)

    def _abort(self) -> None:
        """Ends all connections, and so what runs for them."""
        self.is_aborted = True
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()

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
