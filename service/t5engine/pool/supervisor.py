"""Keeps one worker process running."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from t5engine.config import WorkerConfig
from t5engine.messages import ModelInfo, Pulse, Ready, Unloadable
from t5engine.pool.dispatcher import Dispatcher
from t5engine.pool.process import Process
from t5engine.pool.worker import Worker

logger = logging.getLogger(__name__)

HEALTHY_SECONDS = 60.0  # a worker that lived this long is restarted without delay
MAX_BACKOFF_SECONDS = 30.0


@dataclass
class PoolStatus:
    """What the supervisors of one pool know together.

    Attributes:
        workers: number of workers that the pool should have.
        model: facts about the loaded file; None until a worker is ready.
        failure: why no worker will ever be ready; None unless loading failed.
        features: processor features that the workers' kernels were compiled for, by ggml's names.
        restarts: number of workers restarted so far.
        startup_ended: set once every worker is ready, or loading failed.
    """

    workers: int
    model: ModelInfo | None = None
    failure: str | None = None
    features: list[str] = field(default_factory=list)
    restarts: int = 0
    startup_ended: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Restarts one worker whenever it exits.

    Args:
        config: what the worker is started with.
        start: starts a worker process.
        dispatcher: gives jobs to the worker.
        status: the pool's, shared with the other supervisors.
    """

    def __init__(
        self,
        config: WorkerConfig,
        start: Callable[[WorkerConfig], Awaitable[Process]],
        dispatcher: Dispatcher,
        status: PoolStatus,
    ) -> None:
        self._config = config
        self._start_process = start
        self._dispatcher = dispatcher
        self._status = status

    async def run(self) -> None:
        """Runs workers one after another; returns if the model can't be loaded."""
        exits = 0
        while True:
            started = time.monotonic()
            try:
                reason = await self._run_worker()
            except Exception as error:  # whatever failed, the worker must be restarted
                logger.exception("a worker could not be run")
                reason = f"a worker could not be run: {error}"
            if self._status.model is None:
                self._status.failure = reason
                self._status.startup_ended.set()
                return
            exits = 1 if time.monotonic() - started > HEALTHY_SECONDS else exits + 1
            delay = min(MAX_BACKOFF_SECONDS, 0.5 * 2.0 ** (exits - 2)) if exits > 1 else 0.0
            logger.error("%s; starting another in %.1f s", reason, delay)
            self._status.restarts += 1
            await asyncio.sleep(delay)

    async def _run_worker(self) -> str:
        """Runs one worker from its start to its exit; returns why it ended."""
        process = await self._start_process(self._config)
        failure = None
        try:
            failure = await self._handle_messages(process)
        finally:
            exit_reason = await asyncio.shield(process.close())
        if failure is not None:
            return failure
        loading = " while it loaded the model" if self._status.model is None else ""
        return f"worker {process.pid} {exit_reason}{loading}"

    async def _handle_messages(self, process: Process) -> str | None:
        """Handles a worker's messages until it exits.

        Returns:
            Why the model can't be loaded, if the worker said so.
        """
        greeting = await process.receive()
        if isinstance(greeting, Unloadable):
            return greeting.message
        if not isinstance(greeting, Ready):
            return None
        self._status.model, self._status.features = greeting.model, greeting.features
        worker = Worker(
            process, greeting.max_sequences, greeting.max_inputs, self._dispatcher.costs
        )
        self._dispatcher.record_costs(greeting.costs)
        self._dispatcher.add_worker(worker)
        if len(self._dispatcher.workers) == self._status.workers:
            self._status.startup_ended.set()
        try:
            while (message := await process.receive()) is not None:
                if isinstance(message, Pulse):
                    self._dispatcher.record_costs(message.costs)
                elif not isinstance(message, Ready | Unloadable):
                    self._dispatcher.handle_message(worker, message)
        finally:
            self._dispatcher.on_worker_exit(worker)
        return None
