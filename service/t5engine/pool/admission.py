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

EXPECTED_SECONDS = 0.02  # between the arrival of a request and its job
REFUSED_SECONDS = 0.005  # for so long, what was refused is not looked at again


class _Refused(NamedTuple):
    """A job that was refused lately, while no place has become free since."""

    client: tuple[Hashable, ...]
    timeout: float
    expires: float
    error: JobError

    def covers(self, client: tuple[Hashable, ...], timeout: float, now: float) -> bool:
        """Whether another job would be refused as well: it has no more time."""
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
        """When jobs were foretold that are not here yet; seconds by time.perf_counter."""

    def record_arrival(self) -> None:
        """Notes that a job has been submitted, which may have been foretold."""
        if self._expected:
            self._expected.popleft()

    def record_free_place(self) -> None:
        """Notes that a worker may take another job."""
        self._refused = None

    def refusal_of(self, job: Job) -> JobError | None:
        """Returns the error that the job would get now; None: the job is expected soon.

        Many requests arrive at once: those that are expected already count as well.
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
        """Returns an error if the job would end late even alone."""
        if self._forecast.is_hopeless(job):
            return DeadlineExceeded("the deadline is shorter than the model needs")
        return None

    def check_room(self, job: Job, expected: int = 0, places: int = 0) -> JobError | None:
        """Returns an error if the job can't be queued.

        Args:
            job: the job.
            expected: jobs that come before it and are not here yet.
            places: how many of these need not be queued.
        """
        seconds = self._forecast.seconds_to_end(job) + expected * self._forecast.share(job)
        if len(self._queue) + max(0, expected - places) >= self._max_queue:
            return QueueFull(f"{self._max_queue} jobs are waiting already", retry_after=seconds)
        if time.perf_counter() + seconds > job.deadline:
            message = "the jobs that wait leave no time for another before its deadline"
            return QueueFull(message, retry_after=seconds)
        return None

    def _check_place(self, job: Job) -> JobError | None:
        """Returns an error if the job can neither start nor be queued, after those expected."""
        slots = [0 if self._queue else worker.free_slots(job.width) for worker in self._workers]
        expected = len(self._expected)
        if sum(slots) > expected and any(
            count and worker.is_in_time(job)
            for count, worker in zip(slots, self._workers, strict=True)
        ):
            return None
        return self.check_room(job, expected, sum(slots))
