"""The pool: supervised worker processes, their state, and the jobs that they run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial

import msgspec

from t5engine.config import WorkerConfig
from t5engine.cpus import MOST_WORKERS, Share
from t5engine.errors import DeadlineExceeded, EngineNotReady, JobError, ModelLoadError, QueueFull
from t5engine.memory import available_bytes
from t5engine.messages import JobMessage, ModelInfo, Outcome, Progress, Ready
from t5engine.pool.brake import Brake
from t5engine.pool.dispatcher import Dispatcher
from t5engine.pool.job import Job
from t5engine.pool.process import Process
from t5engine.pool.supervisor import PoolStatus, Supervisor
from t5engine.pool.turns import current_turn

logger = logging.getLogger(__name__)


class WorkerPool:
    """Supervised worker processes that run jobs.

    Args:
        workers: one config per worker process, all of the same model.
        max_queue: maximum number of queued jobs.
        stall_seconds: the silence after which a worker is taken for hung and ended.
        is_model_unchanged: whether the file is the one that the first worker loaded.
        start: starts a worker process.

    Attributes:
        status: what the workers' supervisors know together.
        dispatcher: the queue and the ready workers.
        brake: slows down refusals.
    """

    def __init__(
        self,
        workers: Sequence[WorkerConfig],
        *,
        max_queue: int,
        stall_seconds: float,
        is_model_unchanged: Callable[[], Awaitable[bool]],
        start: Callable[[WorkerConfig], Awaitable[Process]],
    ) -> None:
        self.status = PoolStatus()
        self.brake = Brake()
        self.dispatcher = Dispatcher(max_queue)
        self.dispatcher.forecast.seconds_to_worker = self._seconds_to_worker
        self.dispatcher.forecast.costs.max_input_tokens = max(
            config.max_input_tokens for config in workers
        )
        self._supervise = partial(
            Supervisor,
            start=start,
            dispatcher=self.dispatcher,
            status=self.status,
            stall_seconds=stall_seconds,
            is_model_unchanged=is_model_unchanged,
            on_ready=self._on_ready,
        )
        self._supervisors = [self._supervise(config) for config in workers]
        self._supervising: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts the workers without waiting for them; see `ready`."""
        self._supervising = [
            asyncio.create_task(supervisor.run()) for supervisor in self._supervisors
        ]

    async def ready(self) -> ModelInfo:
        """Waits until a worker is ready.

        Raises:
            ModelLoadError: the model can't be loaded.
        """
        await self.status.startup_ended.wait()
        if self.status.failure is not None or self.status.model is None:
            raise ModelLoadError(
                self.status.failure or "the engine was closed while the model loaded"
            )
        return self.status.model

    @property
    def shares(self) -> list[Share]:
        """The share of the machine of each worker; final once a worker is ready."""
        return [supervisor.config.share for supervisor in self._supervisors]

    @property
    def state(self) -> str:
        """One of "failed", "draining", "loading", "restarting" and "ready"."""
        if self.status.failure is not None:
            return "failed"
        if self.dispatcher.draining:
            return "draining"
        if not self.status.startup_ended.is_set():
            return "loading"
        return "ready" if self.dispatcher.has_worker else "restarting"

    def not_ready(self) -> EngineNotReady:
        """Builds the error that says why no worker is ready, and when one should be."""
        return EngineNotReady(f"the service is {self.state}", retry_after=self._seconds_to_worker())

    async def run(
        self,
        message: JobMessage,
        timeout: float,  # noqa: ASYNC109 - the caller splits its budget
        on_progress: Callable[[Progress], None] | None = None,
    ) -> tuple[Outcome, Job]:
        """Runs a job.

        Args:
            message: the job's message to a worker.
            timeout: seconds, including the time in the queue.
            on_progress: called with more text of a sequence as soon as the text is settled.

        Raises:
            JobError: the job has no outcome.
        """
        if self.state != "ready":
            raise self.not_ready()
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        job = Job(
            message,
            future,
            deadline=time.perf_counter() + timeout,
            on_progress=on_progress,
            turn=current_turn.get(),
        )
        try:
            self.dispatcher.submit(job)
        except (QueueFull, DeadlineExceeded):
            await asyncio.sleep(self.brake.delay())
            raise
        try:
            async with asyncio.timeout(timeout):
                return await job.future, job
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the model was done") from None
        finally:
            if not job.future.done() or job.future.cancelled():
                self.dispatcher.cancel(job)

    def refusal_of(self, message: JobMessage, timeout: float, client: Hashable) -> JobError | None:
        """Returns the error with which a client's job would be refused now."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        deadline = time.perf_counter() + timeout
        return self.dispatcher.admission.refusal_of(
            Job(message, future, deadline, turn=(client, None))
        )

    def drain(self, seconds: float | None = None) -> None:
        """Refuses new jobs from now on, and fails those that are not done after `seconds`."""
        self.dispatcher.draining = True
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, self.dispatcher.close)

    async def close(self, drain_seconds: float = 0.0) -> None:
        """Refuses new jobs, gives the others `drain_seconds` to finish, then ends the workers."""
        self.drain()
        if drain_seconds:
            try:
                await asyncio.wait_for(self.dispatcher.idle.wait(), drain_seconds)
            except TimeoutError:
                jobs = self.dispatcher.waiting + self.dispatcher.running
                logger.warning("%d jobs did not finish in time", jobs)
        for task in self._supervising:
            task.cancel()
        await asyncio.gather(*self._supervising, return_exceptions=True)
        self.dispatcher.close()
        self.status.startup_ended.set()

    def _on_ready(self, config: WorkerConfig, ready: Ready, process: Process) -> WorkerConfig:
        """Splits a worker that found the model's steps short: starts those beside it.

        Returns:
            What the worker is restarted with: the decision stands.
        """
        if not config.can_split:
            return config
        self.status.step_seconds = ready.step_seconds
        if ready.threads == config.threads:
            return msgspec.structs.replace(config, can_split=False)
        count = count_workers(config.threads, process.resident_bytes(), available_bytes())
        own, *others = config.split()[:count]
        logger.info(
            "%s: a step takes %.2f ms on one thread: %d workers of one thread instead of one of %d",
            ready.model.name,
            1000 * ready.step_seconds[1],
            count,
            config.threads,
        )
        for other in others:
            supervisor = self._supervise(other)
            self._supervisors.append(supervisor)
            self._supervising.append(asyncio.create_task(supervisor.run()))
        return own

    def _seconds_to_worker(self) -> float:
        """Estimates the seconds until a worker is ready; 0 if one is."""
        if self.dispatcher.has_worker:
            return 0.0
        times = [
            supervisor.ready_at
            for supervisor in self._supervisors
            if supervisor.ready_at is not None
        ]
        return max(0.0, min(times, default=0.0) - time.perf_counter())


def count_workers(threads: int, worker_bytes: int, available: int | None) -> int:
    """Returns how many workers of one thread take the place of one of several threads.

    The workers beside the first one take at most half of the memory that is available. Each is
    expected to take as much as the first one, although they share the pages of the model's file.

    Args:
        threads: number of threads.
        worker_bytes: memory of the first worker.
        available: memory that is available beside it; None: not known.
    """
    count = min(threads, MOST_WORKERS)
    if available is not None and worker_bytes:
        count = min(count, 1 + available // 2 // worker_bytes)
    return count
