"""Assigns jobs to workers, and retries or fails the jobs of a worker that exits."""

from __future__ import annotations

import asyncio
import logging
import time

from t5engine.errors import (
    DeadlineExceeded,
    EngineNotReady,
    InputQuarantined,
    JobFailed,
)
from t5engine.messages import (
    Cancel,
    Cancelled,
    Generated,
    Judge,
    Judged,
    Outcome,
    Progress,
    Scored,
)
from t5engine.pool.admission import Admission
from t5engine.pool.examiner import examine
from t5engine.pool.forecast import Forecast
from t5engine.pool.job import Job
from t5engine.pool.quarantine import Quarantine
from t5engine.pool.turns import TurnQueue
from t5engine.pool.worker import Worker

logger = logging.getLogger(__name__)

STALL_SECONDS = 30.0  # a worker that leaves a cancellation unanswered for so long is hung


class Dispatcher:
    """The queue and the ready workers.

    Args:
        max_queue: maximum number of queued jobs.

    Attributes:
        workers: the ready workers.
        forecast: decides which jobs can end in time.
        admission: decides which jobs may wait.
        idle: set while no job is queued or running.
        draining: whether the service is shutting down, so that no job is retried.
    """

    def __init__(self, max_queue: int) -> None:
        self._max_queue = max_queue
        self._queue = TurnQueue()
        self._quarantine = Quarantine()
        self.workers: list[Worker] = []
        self.forecast = Forecast(self.workers, self._queue)
        self.admission = Admission(max_queue, self._queue, self.workers, self.forecast)
        self.idle = asyncio.Event()
        self.idle.set()
        self.draining = False

    @property
    def max_queue(self) -> int:
        """Maximum number of queued jobs."""
        return self._max_queue

    @property
    def resident_bytes(self) -> int:
        """Memory of the ready workers' processes, in bytes."""
        return sum(worker.process.resident_bytes() for worker in self.workers)

    @property
    def waiting(self) -> int:
        """Number of queued jobs."""
        return len(self._queue)

    @property
    def has_worker(self) -> bool:
        """Whether a worker is ready and answers."""
        return any(not worker.is_suspect for worker in self.workers)

    @property
    def ready_workers(self) -> int:
        """Number of ready workers."""
        return len(self.workers)

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
            QueueFull: the queue already holds `max_queue` jobs, or jobs that take too long.
            DeadlineExceeded: the job would not end in time even alone.
        """
        self.admission.record_arrival()
        if self.idle.is_set():
            self.forecast.forget_load()
        if self._quarantine.is_refused(job.message):
            raise InputQuarantined("this input ended a worker process twice and is refused")
        if (error := self.admission.check_time(job)) is not None:
            raise error
        refusal = self.admission.check_room(job)
        job.queue_seconds = self.forecast.share(job)
        self._queue.append(job)
        self._dispatch()
        if refusal is not None and not (job.dispatched_at or job.future.done()):
            self._queue.remove(job)
            raise refusal

    def cancel(self, job: Job) -> None:
        """Removes a queued job, or tells its worker to stop.

        A running job keeps its slot until its worker answers with Cancelled.
        """
        self._queue.remove(job)
        self.admission.record_free_place()
        for worker in self.workers:
            if job.id in worker.jobs and job.stall_timer is None:
                self.forecast.record_late(job)
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

    def fail_hopeless_jobs(self) -> None:
        """Fails queued jobs that no worker can finish in time, after a worker exited."""
        self._dispatch()

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
                job.fail(EngineNotReady("the service is shutting down"))
            elif len(jobs) == 1 and self._quarantine.record_exit(job.message):
                job.fail(InputQuarantined("this input ended a worker process twice"))
            elif job.is_streamed:
                job.fail(JobFailed("the worker process ended before this input was decoded"))
            elif job.is_exclusive:
                job.fail(JobFailed("the worker process ended twice while decoding this input"))
            elif not job.future.done():
                job.is_exclusive = True
                job.dispatched_at = 0.0
                job.queue_seconds = self.forecast.share(job)
                self._queue.append_retry(job)
        self._dispatch()

    def close(self) -> None:
        """Fails all jobs, queued and running."""
        running = [job for worker in self.workers for job in worker.jobs.values()]
        for job in [*self._queue, *running]:
            job.fail(EngineNotReady("the service is shutting down"))
        self._queue.clear()

    def _dispatch(self) -> None:
        """Sends queued jobs to workers, in turn; fails those that can't end in time any more."""
        while self._dispatch_next():
            pass
        if self.waiting + self.running:
            self.idle.clear()
        elif not self.idle.is_set():
            self.idle.set()
            self.forecast.record_idle()

    def _dispatch_next(self) -> bool:
        """Removes the first job that can leave the queue; returns whether there was one.

        Once a job finds no room, later ones only get rows that are kept free for narrow jobs.
        """
        is_blocked = False
        has_room = any(worker.has_room for worker in self.workers)
        for job in self._queue:
            if job.future.done():  # its caller has left
                self._queue.remove(job)
                return True
            if self.forecast.is_too_late(job):
                self._queue.remove(job)
                job.fail(DeadlineExceeded("the deadline left no time to run the model"))
                return True
            if not has_room:
                continue
            accepting = [] if is_blocked else [w for w in self.workers if w.accepts(job)]
            job.is_spare = not accepting
            if not accepting:
                accepting = [w for w in self.workers if w.accepts_in_spare_rows(job)]
            if not accepting and not isinstance(job.message, Judge):  # these have room of their own
                is_blocked = True
            in_time = [worker for worker in accepting if worker.is_in_time(job)]
            if in_time:  # else a later job may be shorter, or have more time
                self._queue.take(job)
                self._send(min(in_time, key=lambda worker: worker.width), job)
                return True
        return False

    def _send(self, worker: Worker, job: Job) -> None:
        job.dispatched_at = time.perf_counter()
        try:
            worker.process.send(job.message)
        except (TypeError, ValueError, OverflowError):  # request schemas should have refused it
            logger.exception("a job can't be sent to its worker")
            job.fail(JobFailed("this request can't be passed on to a worker"))
        else:
            worker.add(job)

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
        worker.remove(outcome.job)
        self.admission.record_free_place()
        probe = examine(worker, job, outcome)
        if probe is not None:
            self._send(worker, probe)
        if isinstance(outcome, Generated):
            self.forecast.record_done(job, outcome)
        elif isinstance(outcome, Judged):
            self.forecast.record_judged(job, outcome)
        if isinstance(outcome, Generated | Judged | Scored):  # decoded, not just tokenised
            self._quarantine.clear(job.message)
        if not job.future.done():
            job.future.set_result(outcome)
        self._dispatch()

    def _release(self, worker: Worker, job_id: int) -> None:
        """Frees the slot of a cancelled job."""
        self.admission.record_free_place()
        job = worker.remove(job_id)
        if job is not None and job.stall_timer is not None:
            job.stall_timer.cancel()
        self._dispatch()
