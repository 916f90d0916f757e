"""Assigns jobs to workers, and retries or fails the jobs of a worker that exits."""

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

STALL_SECONDS = 30.0  # a worker that leaves a cancellation unanswered for so long is hung


@dataclass(eq=False)
class Job:
    """A message to a worker, and the future of its outcome.

    Attributes:
        submitted_at: seconds by time.perf_counter.
        dispatched_at: likewise; 0 while the job is queued.
        is_streamed: its caller already has some of the text, so the job can't be retried.
        is_exclusive: a retry after a worker exited; shares its worker with no other job.
        stall_timer: set by a cancellation; kills the worker unless the worker answers.
    """

    message: JobMessage
    future: asyncio.Future[Outcome]
    submitted_at: float = field(default_factory=time.perf_counter)
    dispatched_at: float = 0.0
    on_progress: Callable[[Progress], None] | None = None
    is_streamed: bool = False
    is_exclusive: bool = False
    stall_timer: asyncio.TimerHandle | None = None

    @property
    def id(self) -> int:
        """The number that the job's messages carry."""
        return self.message.job

    @property
    def width(self) -> int:
        """Number of sequences that the job decodes."""
        return self.message.config.width if isinstance(self.message, Generate) else 1


@dataclass(eq=False)
class Worker:
    """A ready worker process and its jobs.

    Attributes:
        max_sequences: maximum concurrent sequences; a single job may have more.
        max_inputs: maximum concurrent jobs.
        jobs: by id.
    """

    process: Process
    max_sequences: int
    max_inputs: int
    jobs: dict[int, Job] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Number of sequences of all its jobs."""
        return sum(job.width for job in self.jobs.values())

    def accepts(self, candidate: Job) -> bool:
        """Whether the worker can run the job now, beside its other jobs."""
        if not self.jobs:
            return True
        if candidate.is_exclusive or any(job.is_exclusive for job in self.jobs.values()):
            return False
        has_free_input = len(self.jobs) < self.max_inputs
        return has_free_input and self.width + candidate.width <= self.max_sequences

    def free_slots(self, width: int) -> int:
        """Returns how many more jobs of `width` sequences the worker accepts now."""
        by_sequences = (self.max_sequences - self.width) // width
        by_inputs = self.max_inputs - len(self.jobs)
        return max(min(by_sequences, by_inputs), int(not self.jobs))


class Dispatcher:
    """The queue and the ready workers.

    Args:
        max_queue: maximum number of queued jobs.

    Attributes:
        workers: the ready workers.
        idle: set while no job is queued or running.
        draining: whether the service is shutting down, so that no job is retried.
    """

    def __init__(self, max_queue: int) -> None:
        self._max_queue = max_queue
        self._queue: deque[Job] = deque()
        self._quarantine = Quarantine()
        self.workers: list[Worker] = []
        self.idle = asyncio.Event()
        self.idle.set()
        self.draining = False

    @property
    def waiting(self) -> int:
        """Number of queued jobs."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Number of jobs that workers run."""
        return sum(len(worker.jobs) for worker in self.workers)

    def free_slots(self, width: int) -> int:
        """Returns how many jobs of `width` sequences could be submitted now."""
        slots = sum(worker.free_slots(width) for worker in self.workers) if not self._queue else 0
        return slots + max(0, self._max_queue - len(self._queue))

    def submit(self, job: Job) -> None:
        """Sends the job to a worker, or queues it.

        Raises:
            InputQuarantined: the job's input ended a worker process twice.
            QueueFull: the queue already holds `max_queue` jobs.
        """
        if self._quarantine.is_refused(job.message):
            raise InputQuarantined("this input ended a worker process twice and is refused")
        self._queue.append(job)
        self._dispatch()
        if job in self._queue and len(self._queue) > self._max_queue:
            self._queue.remove(job)
            raise QueueFull(f"{self._max_queue} jobs are waiting already")

    def cancel(self, job: Job) -> None:
        """Removes a queued job, or tells its worker to stop.

        A running job keeps its slot until its worker answers with Cancelled.
        """
        if job in self._queue:
            self._queue.remove(job)
        for worker in self.workers:
            if job.id in worker.jobs and job.stall_timer is None:
                worker.process.send(Cancel(job.id))
                loop = asyncio.get_running_loop()
                job.stall_timer = loop.call_later(
                    STALL_SECONDS, self._kill_stalled_worker, worker, job
                )
        self._dispatch()

    def add_worker(self, worker: Worker) -> None:
        """Adds a worker that is ready for jobs."""
        self.workers.append(worker)
        self._dispatch()

    def handle_message(self, worker: Worker, message: Outcome | Progress | Cancelled) -> None:
        """Handles a worker's message about one of its jobs."""
        if isinstance(message, Cancelled):
            self._release(worker, message.job)
        elif isinstance(message, Progress):
            self._forward_progress(worker, message)
        else:
            self._complete(worker, message)

    def on_worker_exit(self, worker: Worker) -> None:
        """Removes a worker that exited. Each of its jobs is retried once, without other jobs.

        A worker's only job is blamed for the exit: the quarantine counts the exit against its
        input.
        """
        self.workers.remove(worker)
        jobs = list(worker.jobs.values())
        worker.jobs.clear()
        for job in jobs:
            if job.stall_timer is not None:
                job.stall_timer.cancel()
            if self.draining:
                _fail(job, EngineNotReady("the service is shutting down"))
            elif len(jobs) == 1 and self._quarantine.record_exit(job.message):
                _fail(job, InputQuarantined("this input ended a worker process twice"))
            elif job.is_streamed:
                _fail(job, JobFailed("the worker process ended before this input was decoded"))
            elif job.is_exclusive:
                _fail(job, JobFailed("the worker process ended twice while decoding this input"))
            elif not job.future.done():
                job.is_exclusive = True
                self._queue.appendleft(job)
        self._dispatch()

    def close(self) -> None:
        """Fails all queued jobs."""
        for job in self._queue:
            _fail(job, EngineNotReady("the service is shutting down"))
        self._queue.clear()

    def _dispatch(self) -> None:
        """Sends queued jobs to workers, first come, first served."""
        while self._queue:
            job = self._queue[0]
            if job.future.done():  # its caller has left
                self._queue.popleft()
                continue
            accepting = (worker for worker in self.workers if worker.accepts(job))
            worker = min(accepting, key=lambda worker: worker.width, default=None)
            if worker is None:
                break
            self._queue.popleft()
            self._send(worker, job)
        if self.waiting + self.running:
            self.idle.clear()
        else:
            self.idle.set()

    def _send(self, worker: Worker, job: Job) -> None:
        job.dispatched_at = time.perf_counter()
        try:
            worker.process.send(job.message)
        except (TypeError, ValueError, OverflowError):  # request schemas should have refused it
            logger.exception("a job can't be sent to its worker")
            _fail(job, JobFailed("this request can't be passed on to a worker"))
        else:
            worker.jobs[job.id] = job

    def _kill_stalled_worker(self, worker: Worker, job: Job) -> None:
        if job.id in worker.jobs:
            logger.error("worker %d does not answer; ending it", worker.process.pid)
            worker.process.kill()

    def _forward_progress(self, worker: Worker, progress: Progress) -> None:
        job = worker.jobs.get(progress.job)
        if job is not None and job.on_progress is not None and not job.future.done():
            job.is_streamed = True
            job.on_progress(progress)

    def _complete(self, worker: Worker, outcome: Outcome) -> None:
        job = worker.jobs.get(outcome.job)
        if job is None or job.stall_timer is not None:  # cancelled: Cancelled comes next
            return
        del worker.jobs[outcome.job]
        if isinstance(outcome, Generated | Scored):  # decoded, not just tokenised
            self._quarantine.clear(job.message)
        if not job.future.done():
            job.future.set_result(outcome)
        self._dispatch()

    def _release(self, worker: Worker, job_id: int) -> None:
        """Frees the slot of a cancelled job."""
        job = worker.jobs.pop(job_id, None)
        if job is not None and job.stall_timer is not None:
            job.stall_timer.cancel()
        self._dispatch()


def _fail(job: Job, error: Exception) -> None:
    if not job.future.done():
        job.future.set_exception(error)
