"""Which worker gets which job, and what becomes of jobs whose worker dies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from t5engine.errors import EngineNotReady, InputQuarantined, JobFailed, QueueFull
from t5engine.messages import (
    Cancel,
    Cancelled,
    Generate,
    Generated,
    JobMessage,
    Outcome,
    Progress,
    Scored,
)
from t5engine.pool.process import Process
from t5engine.pool.quarantine import Quarantine

logger = logging.getLogger(__name__)

STALL_SECONDS = 30.0  # without an answer to a cancellation a worker counts as hung


@dataclass(eq=False)
class Job:
    """One message to a worker and who waits for its outcome."""

    message: JobMessage
    future: asyncio.Future[Outcome]
    submitted: float = field(default_factory=time.perf_counter)
    dispatched: float = 0.0
    on_progress: Callable[[Progress], None] | None = None
    streamed: bool = False
    """Some of its text is with its caller already: it can't be begun again."""
    alone: bool = False
    """Retried after a worker died with it: runs with no other job beside it."""
    watch: asyncio.TimerHandle | None = None
    """Set once it is cancelled: ends a worker that does not answer."""

    @property
    def width(self) -> int:
        """Sequences that it takes."""
        return self.message.config.width if isinstance(self.message, Generate) else 1


@dataclass(eq=False)
class Worker:
    """A ready worker and the jobs that it has."""

    process: Process
    sequences: int
    inputs: int
    jobs: dict[int, Job] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Sequences that its jobs take."""
        return sum(job.width for job in self.jobs.values())

    def takes(self, job: Job) -> bool:
        if not self.jobs:
            return True
        if job.alone or any(other.alone for other in self.jobs.values()):
            return False
        return len(self.jobs) < self.inputs and self.width + job.width <= self.sequences

    def room(self, width: int) -> int:
        """Jobs of so many sequences each that it would take now."""
        fitting = min((self.sequences - self.width) // width, self.inputs - len(self.jobs))
        return max(fitting, int(not self.jobs))


class Dispatcher:
    """The queue, and the ready workers.

    Args:
        max_queue: jobs that may wait for a worker.
    """

    def __init__(self, max_queue: int) -> None:
        self._max_queue = max_queue
        self._queue: deque[Job] = deque()
        self._quarantine = Quarantine()
        self.workers: list[Worker] = []
        self.idle = asyncio.Event()
        """Set while there is no job."""
        self.idle.set()
        self.draining = False

    @property
    def waiting(self) -> int:
        """Jobs that wait for a worker."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Jobs that workers have."""
        return sum(len(worker.jobs) for worker in self.workers)

    def room(self, width: int) -> int:
        """Jobs of so many sequences each that would be taken now."""
        free = sum(worker.room(width) for worker in self.workers) if not self._queue else 0
        return free + max(0, self._max_queue - len(self._queue))

    def submit(self, job: Job) -> None:
        """Gives the job to a worker, or to the queue.

        Raises:
            InputQuarantined: its input ended a worker twice.
            QueueFull: as many wait as may.
        """
        if self._quarantine.holds(job.message):
            raise InputQuarantined("this input ended a worker process twice and is refused")
        self._queue.append(job)
        self._dispatch()
        if job in self._queue and len(self._queue) > self._max_queue:
            self._queue.remove(job)
            raise QueueFull(f"{self._max_queue} jobs are waiting already")

    def abandon(self, job: Job) -> None:
        """Nobody waits for the job any more; its place is free when the worker has let go of it."""
        if job in self._queue:
            self._queue.remove(job)
        for worker in self.workers:
            if job.message.job in worker.jobs and job.watch is None:
                worker.process.send(Cancel(job.message.job))
                loop = asyncio.get_running_loop()
                job.watch = loop.call_later(STALL_SECONDS, self._end_hung, worker, job)
        self._dispatch()

    def join(self, worker: Worker) -> None:
        """A worker is ready."""
        self.workers.append(worker)
        self._dispatch()

    def take(self, worker: Worker, message: Outcome | Progress | Cancelled) -> None:
        """A worker has something to say of one of its jobs."""
        if isinstance(message, Cancelled):
            self._let_go(worker, message.job)
        elif isinstance(message, Progress):
            self._pass_on(worker, message)
        else:
            self._settle(worker, message)

    def bury(self, worker: Worker) -> None:
        """A worker died: its jobs are retried once, each alone; one that was alone is blamed."""
        self.workers.remove(worker)
        jobs = list(worker.jobs.values())
        worker.jobs.clear()
        for job in jobs:
            if job.watch is not None:
                job.watch.cancel()
            if self.draining:
                _fail(job, EngineNotReady("the service is shutting down"))
            elif len(jobs) == 1 and self._quarantine.blame(job.message):
                _fail(job, InputQuarantined("this input ended a worker process twice"))
            elif job.streamed:
                _fail(job, JobFailed("the worker process ended before this input was decoded"))
            elif job.alone:
                _fail(job, JobFailed("the worker process ended twice while decoding this input"))
            elif not job.future.done():
                job.alone = True
                self._queue.appendleft(job)
        self._dispatch()

    def close(self) -> None:
        """Fails the jobs that still wait."""
        for job in self._queue:
            _fail(job, EngineNotReady("the service is shutting down"))
        self._queue.clear()

    def _dispatch(self) -> None:
        """Gives waiting jobs to workers, first come first served."""
        while self._queue:
            job = self._queue[0]
            if job.future.done():  # its caller has left
                self._queue.popleft()
                continue
            worker = min(
                (w for w in self.workers if w.takes(job)), key=lambda w: w.width, default=None
            )
            if worker is None:
                break
            self._queue.popleft()
            job.dispatched = time.perf_counter()
            try:
                worker.process.send(job.message)
            except (TypeError, ValueError, OverflowError):  # nothing that a schema should let by
                logger.exception("a job can't be sent")
                _fail(job, JobFailed("this request can't be passed on"))
                continue
            worker.jobs[job.message.job] = job
        if self.waiting + self.running:
            self.idle.clear()
        else:
            self.idle.set()

    def _end_hung(self, worker: Worker, job: Job) -> None:
        if job.message.job in worker.jobs:
            logger.error("worker %d does not answer; ending it", worker.process.pid)
            worker.process.kill()

    def _pass_on(self, worker: Worker, progress: Progress) -> None:
        job = worker.jobs.get(progress.job)
        if job is not None and job.on_progress is not None and not job.future.done():
            job.streamed = True
            job.on_progress(progress)

    def _settle(self, worker: Worker, outcome: Outcome) -> None:
        job = worker.jobs.get(outcome.job)
        if job is None or job.watch is not None:  # cancelled: the answer to that comes next
            return
        del worker.jobs[outcome.job]
        if isinstance(outcome, Generated | Scored):  # decoded, not just tokenised
            self._quarantine.clear(job.message)
        if not job.future.done():
            job.future.set_result(outcome)
        self._dispatch()

    def _let_go(self, worker: Worker, number: int) -> None:
        job = worker.jobs.pop(number, None)
        if job is not None and job.watch is not None:
            job.watch.cancel()
        self._dispatch()


def _fail(job: Job, error: Exception) -> None:
    if not job.future.done():
        job.future.set_exception(error)
