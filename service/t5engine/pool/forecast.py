"""Forecasts when jobs end, from their costs, the queue and the workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from t5engine.messages import Costs, Generated, Judged
from t5engine.pool.costs import CostModel
from t5engine.pool.job import Job
from t5engine.pool.turns import TurnQueue
from t5engine.pool.worker import Worker

PROBE_SECONDS = 1.0  # if no job ended for this long, estimates refuse nothing


class Forecast:
    """Decides which jobs can end in time, and learns from those that have ended.

    Args:
        workers: the ready workers.
        queue: the jobs that wait.

    Attributes:
        costs: estimates what a job costs.
        seconds_to_worker: estimates the seconds until a worker is ready.
    """

    def __init__(self, workers: Sequence[Worker], queue: TurnQueue) -> None:
        self._workers = workers
        self._queue = queue
        self._last_done = -math.inf
        """When a worker last finished a job; seconds by time.perf_counter."""
        self._idle_since = time.perf_counter()
        """Since when an idle engine has been idle; seconds by the same clock."""
        self.costs = CostModel()
        self.seconds_to_worker: Callable[[], float] = lambda: 0.0

    def record_costs(self, costs: Costs) -> None:
        """Stores a worker's measurements. They hold for all workers, whose processors are alike."""
        self.costs.record_costs(costs)

    def record_idle(self) -> None:
        """Notes that the last job has left the engine."""
        self._idle_since = time.perf_counter()

    def forget_load(self) -> None:
        """Forgets what load taught, in proportion to the time in which the engine was idle."""
        now = time.perf_counter()
        self.costs.forget_load(now - self._idle_since)
        self._idle_since = now

    def record_done(self, job: Job, outcome: Generated) -> None:
        """Learns from a job that was done."""
        self._last_done = time.perf_counter()
        self.costs.record(job.message, outcome)
        elapsed = self._last_done - job.dispatched_at
        self.costs.record_forecast(job.forecast, elapsed, outcome.timings.total / 1000)

    def record_judged(self, job: Job, outcome: Judged) -> None:
        """Learns from a judgement, but not its time: judgements wait for each other."""
        self._last_done = time.perf_counter()
        self.costs.record_judged(job.message, outcome)

    def record_late(self, job: Job) -> None:
        """Learns from a running job whose caller has left, if its deadline has passed."""
        now = time.perf_counter()
        if now >= job.deadline:
            self.costs.record_forecast(job.forecast, now - job.dispatched_at)

    def is_hopeless(self, job: Job) -> bool:
        """Whether the job would end late even if a worker had nothing else to do."""
        return self._is_late(job, self.costs.fastest_seconds(job.message, job.width))

    def is_too_late(self, job: Job) -> bool:
        """Whether a job that waits would end late beside the jobs that run now.

        A lone job of an idle worker is only late if it is hopeless, because the other estimates
        were learnt under load.
        """
        is_idle = any(not worker.jobs for worker in self._workers) and len(self._queue) == 1
        if is_idle or not self._workers:
            return self.is_hopeless(job)
        return self._is_late(job, min(worker.seconds_to_end(job) for worker in self._workers))

    def _is_late(self, job: Job, seconds: float) -> bool:
        now = time.perf_counter() + self.seconds_to_worker()
        if now > job.deadline:
            return True
        if now - self._last_done > PROBE_SECONDS:  # a job corrects wrong estimates
            return False
        return now + seconds > job.deadline

    def can_judge(self, lengths: Sequence[int], seconds: float) -> bool:
        """Whether texts of these lengths could be judged in time by otherwise idle workers.

        Estimates may be wrong, and only finished jobs correct them. So an idle engine accepts
        texts that should take up to twice the time.
        """
        needed = self.costs.judging_seconds(lengths) / max(1, len(self._workers))
        is_tried = time.perf_counter() - self._last_done > PROBE_SECONDS
        return needed <= (2 * seconds if is_tried else seconds)

    def share(self, job: Job) -> float:
        """Estimates the job's share of a busy worker's time."""
        if not self._workers:
            return 0.0
        capacity = self._workers[0].max_sequences
        return self.costs.shared_seconds(job.message, job.width, capacity)

    def seconds_to_end(self, job: Job) -> float:
        """Estimates when a job that is not in the queue would end, if the workers are busy."""
        if not self._workers:
            return 0.0
        capacity = self._workers[0].max_sequences
        client = job.turn[0] if job.turn else None
        ahead = self._queue.seconds_ahead(client) / len(self._workers)
        start = min(worker.seconds_to_free_slot for worker in self._workers)
        own = self.costs.seconds(job.message, max(job.width, capacity))
        return start + self.costs.correction * (ahead + own) + self.costs.lag + self.costs.margin
