"""Keeps one worker process running."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from t5engine.config import WorkerConfig
from t5engine.messages import ModelInfo, Pulse, Ready, Unloadable
from t5engine.pool.dispatcher import Dispatcher
from t5engine.pool.process import Process
from t5engine.pool.watchdog import watch_worker
from t5engine.pool.worker import Worker

logger = logging.getLogger(__name__)

HEALTHY_SECONDS = 1.0  # a worker that was ready for so long is restarted without delay
READY_BACKOFF_SECONDS = (0.1, 1.0)  # first and longest pause after a worker that had been ready
LOAD_BACKOFF_SECONDS = (0.5, 30.0)  # the same after one that could not load
START_SECONDS = 1.0  # until the first start has been measured


@dataclass
class PoolStatus:
    """What the supervisors of one pool know together.

    Attributes:
        model: facts about the loaded file; None until a worker is ready.
        failure: why no worker will ever be ready; None unless loading failed.
        features: processor features that the workers' kernels were compiled for, by ggml's names.
        restarts: number of workers restarted so far.
        step_seconds: the seconds of a step of one sequence, by the number of threads; empty: it
            was not measured.
        startup_ended: set once a worker is ready, or loading failed.
    """

    model: ModelInfo | None = None
    failure: str | None = None
    features: list[str] = field(default_factory=list)
    restarts: int = 0
    step_seconds: dict[int, float] = field(default_factory=dict)
    startup_ended: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Restarts one worker whenever it exits.

    Args:
        config: what the worker is started with.
        start: starts a worker process.
        dispatcher: gives jobs to the worker.
        status: the pool's, shared with the other supervisors.
        stall_seconds: the silence after which a worker is taken for hung.
        is_model_unchanged: whether the model file is the one that the first worker loaded.
        on_ready: called when a worker is ready; returns the configuration for its restarts.

    Attributes:
        config: what the next worker is started with.
        ready_at: when the next worker should be ready, in seconds by time.perf_counter; None
            while a worker is ready.
    """

    def __init__(
        self,
        config: WorkerConfig,
        start: Callable[[WorkerConfig], Awaitable[Process]],
        dispatcher: Dispatcher,
        status: PoolStatus,
        *,
        stall_seconds: float,
        is_model_unchanged: Callable[[], Awaitable[bool]],
        on_ready: Callable[[WorkerConfig, Ready, Process], WorkerConfig],
    ) -> None:
        self.config = config
        self._start_process = start
        self._dispatcher = dispatcher
        self._status = status
        self._stall_seconds = stall_seconds
        self._is_model_unchanged = is_model_unchanged
        self._on_ready = on_ready
        self._start_seconds = START_SECONDS
        self._ready_seconds = 0.0
        """How long the latest worker was ready; 0 if it never was."""
        self.ready_at: float | None = None

    async def run(self) -> None:
        """Runs workers one after another; returns if the model can't be loaded."""
        exits = 0
        while True:
            try:
                reason = await self._run_worker()
            except Exception as error:  # whatever failed, the worker must be restarted
                logger.exception("a worker could not be run")
                reason = f"a worker could not be run: {error}"
            if self._status.model is None:
                self._status.failure = reason
                self._status.startup_ended.set()
                return
            exits = 1 if self._ready_seconds > HEALTHY_SECONDS else exits + 1
            first, longest = READY_BACKOFF_SECONDS if self._ready_seconds else LOAD_BACKOFF_SECONDS
            delay = min(longest, first * 2.0 ** (exits - 2)) if exits > 1 else 0.0
            logger.error("%s; starting another in %.1f s", reason, delay)
            self._status.restarts += 1
            self._expect_worker(delay)
            await asyncio.sleep(delay)

    def _expect_worker(self, delay: float) -> None:
        self.ready_at = time.perf_counter() + delay + self._start_seconds
        self._dispatcher.fail_hopeless_jobs()

    async def _run_worker(self) -> str:
        """Runs one worker from its start to its exit; returns why it ended."""
        self._ready_seconds = 0.0
        if self._status.model is not None and not await self._is_model_unchanged():
            return f"{self.config.model} is another file now; reload the service to serve it"
        started = time.perf_counter()
        self.ready_at = started + self._start_seconds
        costs = self._dispatcher.forecast.costs.costs  # so that a restart need not measure
        process = await self._start_process(msgspec.structs.replace(self.config, costs=costs))
        failure = None
        try:
            failure = await self._handle_messages(process, started)
        finally:
            exit_reason = await asyncio.shield(process.close())
        if failure is not None:
            return failure
        loading = " while it loaded the model" if self._status.model is None else ""
        return f"worker {process.pid} {exit_reason}{loading}"

    async def _handle_messages(self, process: Process, started: float) -> str | None:
        """Handles a worker's messages until it exits.

        Returns:
            Why the model can't be loaded, if the worker said so.
        """
        greeting = await process.receive()
        if isinstance(greeting, Unloadable):
            return greeting.message
        if not isinstance(greeting, Ready):
            return None
        ready = time.perf_counter()
        self._start_seconds, self.ready_at = ready - started, None
        self._status.model, self._status.features = greeting.model, greeting.features
        worker = Worker(
            process,
            greeting.max_sequences,
            greeting.max_inputs,
            greeting.rows,
            self._dispatcher.forecast.costs,
        )
        self._dispatcher.forecast.record_costs(greeting.costs)
        self._dispatcher.forecast.costs.max_input_tokens = greeting.model.max_input_tokens
        self._dispatcher.add_worker(worker)
        self.config = self._on_ready(self.config, greeting, process)
        self._status.startup_ended.set()
        watch = asyncio.create_task(watch_worker(worker, self._stall_seconds))
        try:
            while (message := await process.receive()) is not None:
                worker.heard_at = time.perf_counter()
                if isinstance(message, Pulse):
                    self._dispatcher.forecast.record_costs(message.costs)
                elif not isinstance(message, Ready | Unloadable):
                    self._dispatcher.handle_message(worker, message)
        finally:
            watch.cancel()
            self._ready_seconds = time.perf_counter() - ready
            self.ready_at = time.perf_counter() + self._start_seconds
            self._dispatcher.on_worker_exit(worker)
        return None
