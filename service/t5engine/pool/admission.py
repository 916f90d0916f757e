"""Decides which jobs may wait: a place now, or a refusal now."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from t5engine.errors import DeadlineExceeded, JobError, QueueFull
from t5engine.pool.forecast import Forecast
from t5engine.pool.job import Job
from t5engine.pool.turns import TurnQueue
from t5engine.pool.worker import Worker

EXPECTED_SECONDS = 0.02  # from the answer of `refusal_of` to the submission of the job
REFUSED_SECONDS = 0.005  # for this long a refusal is repeated without a new estimate


class _Refused(NamedTuple):
    """A job that was refused recently; no place has become free since then."""

    client: tuple[Hashable, ...]
    timeout: float
    expires: float
    error: JobError

    def covers(self, client: tuple[Hashable, ...], timeout: float, now: float) -> bool:
        """Whether another job would also be refused: same client, no longer deadline."""
        return client == self.client and timeout <= self.timeout and now < self.expires


class Admission:
    """Refuses jobs for which there is no room or no time.

    Args:
        max_queue: maximum number of queued jobs.
        queue: the jobs that wait.
        workers: the ready workers.
        forecast: decides which jobs can end in time.
    """

    def __init__(
        self, max_queue: int, queue: TurnQueue, workers: Sequence[Worker], forecast: Forecast
    ) -> None:
        self._max_queue = max_queue
        self._queue = queue
        self._workers = workers
        self._forecast = forecast
        self._refused: _Refused | None = None
        self._expected: deque[float] = deque()
        """Times at which `refusal_of` let jobs pass that are not submitted yet, by perf_counter."""

    def record_arrival(self) -> None:
        """Notes that a job has been submitted; `refusal_of` may have let it pass before."""
        if self._expected:
            self._expected.popleft()

    def record_free_place(self) -> None:
        """Notes that a worker may take another job."""
        self._refused = None

    def refusal_of(self, job: Job) -> JobError | None:
        """Returns the error that the job would get now. None: the job is expected soon.

        Many requests arrive at once, so jobs that are expected take places too.
        """
        now = time.perf_counter()
        client, timeout = job.turn[:1], job.deadline - now
        if self._refused is not None and self._refused.covers(client, timeout, now):
            return self._refused.error
        while self._expected and now - self._expected[0] > EXPECTED_SECONDS:
            self._expected.popleft()
        error = self.check_time(job) or self._check_place(job)
        if error is None:
            self._expected.append(now)
        else:
            self._refused = _Refused(client, timeout, now + REFUSED_SECONDS, error)
        return error

    def check_time(self, job: Job) -> JobError | None:
        """Returns an error if the job would end late even without other jobs."""
        if self._forecast.is_hopeless(job):
            return DeadlineExceeded("the deadline is shorter than the model needs")
        return None

    def check_room(self, job: Job, expected: int = 0, places: int = 0) -> JobError | None:
        """Returns an error if the job can't be queued.

        Args:
            job: the job.
            expected: the number of jobs that will be submitted before this job.
            places: the number of expected jobs that can start without waiting.
        """
        seconds = self._forecast.seconds_to_end(job) + expected * self._forecast.share(job)
        if len(self._queue) + max(0, expected - places) >= self._max_queue:
            return QueueFull(
                f"the queue is full: {self._max_queue} jobs are waiting; retry later",
                retry_after=seconds,
            )
        if time.perf_counter() + seconds > job.deadline:
            message = "the jobs in the queue take longer than this deadline; retry later"
            return QueueFull(message, retry_after=seconds)
        return None

    def _check_place(self, job: Job) -> JobError | None:
        """Returns an error if the job can neither start nor be queued, behind the expected jobs."""
        slots = [0 if self._queue else worker.free_slots(job.width) for worker in self._workers]
        expected = len(self._expected)
        if sum(slots) > expected and any(
            count and worker.is_in_time(job)
            for count, worker in zip(slots, self._workers, strict=True)
        ):
            return None
        return self.check_room(job, expected, sum(slots))
