"""A ready worker process, its jobs, and when they will be done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from t5engine.messages import JUDGED_TOGETHER, SPARE_ROWS, Judge
from t5engine.pool.costs import CostModel
from t5engine.pool.job import Job
from t5engine.pool.process import Process

MAX_JUDGEMENTS = 2 * JUDGED_TOGETHER  # per worker: those of the next step, and as many behind


@dataclass(eq=False)
class Worker:
    """A ready worker process and its jobs.

    All times are seconds by time.perf_counter. The forecast assumes that encodes come before
    steps, and that a step decodes the sequences of all jobs.

    Attributes:
        max_sequences: maximum concurrent sequences; a single job may have more.
        max_inputs: maximum concurrent jobs.
        rows: rows of the worker's backend; those beyond `max_sequences` are kept free for narrow
            jobs.
        costs: estimates what a job costs.
        jobs: by id.
        heard_at: when its latest message arrived.
        is_suspect: whether it seems hung or broken, so that it gets no jobs and is ended.
        failures: number of jobs that failed since the last success.
    """

    process: Process
    max_sequences: int
    max_inputs: int
    rows: int = 0
    costs: CostModel = field(default_factory=CostModel)
    jobs: dict[int, Job] = field(default_factory=dict)
    heard_at: float = field(default_factory=time.perf_counter)
    is_suspect: bool = False
    failures: int = 0
    _encode_seconds: float = 0.0
    """Estimated seconds of the encodes that are still to be done."""
    _updated_at: float = 0.0

    @property
    def width(self) -> int:
        """Number of sequences of all its jobs."""
        return sum(job.width for job in self.jobs.values())

    @property
    def spare_width(self) -> int:
        """Number of sequences in the rows that are kept free for narrow jobs."""
        return sum(job.width for job in self.jobs.values() if job.is_spare)

    @property
    def has_room(self) -> bool:
        """Whether the worker may accept any further job."""
        is_full = self.width >= self.total_rows or len(self.jobs) >= self.max_inputs
        return not (self.jobs and (is_full or self.is_suspect))

    def accepts(self, candidate: Job) -> bool:
        """Whether the worker can run the job now, beside its other jobs."""
        if not self.jobs:
            return not self.is_suspect
        if not self._can_share(candidate):
            return False
        spare = self.spare_width
        batch = self.width - spare
        fits_batch = not batch or batch + candidate.width <= self.max_sequences
        return fits_batch and spare + batch + candidate.width <= self.total_rows

    def accepts_in_spare_rows(self, candidate: Job) -> bool:
        """Whether a narrow job can use a reserved row although the batch is full.

        This requires that one request has more than half of the batch, and that the job's request
        has no job there. Otherwise all jobs are alike, and wait alike.
        """
        if not self._can_share(candidate):
            return False
        if any(job.turn == candidate.turn for job in self.jobs.values()):
            return False
        fits_spare = self.spare_width + candidate.width <= SPARE_ROWS
        fits = fits_spare and self.width + candidate.width <= self.total_rows
        return fits and 2 * self._largest_request > max(2, self.max_sequences)

    @property
    def _largest_request(self) -> int:
        """The largest number of the batch's rows that one request has."""
        widths: Counter[Hashable] = Counter()
        for job in self.jobs.values():
            if not job.is_spare:
                widths[job.turn] += job.width
        return max(widths.values(), default=0)

    def _can_share(self, candidate: Job) -> bool:
        if self.is_suspect or candidate.is_exclusive or len(self.jobs) >= self.max_inputs:
            return False
        if isinstance(candidate.message, Judge) and self._judgements >= MAX_JUDGEMENTS:
            return False
        return not any(job.is_exclusive for job in self.jobs.values())

    @property
    def _judgements(self) -> int:
        return sum(isinstance(job.message, Judge) for job in self.jobs.values())

    @property
    def total_rows(self) -> int:
        """The most sequences of all jobs, including those in reserved rows."""
        return max(self.rows, self.max_sequences)

    def free_slots(self, width: int) -> int:
        """Returns how many more jobs of `width` sequences the worker accepts now."""
        by_sequences = (self.max_sequences - self.width) // width
        by_inputs = self.max_inputs - len(self.jobs)
        return max(min(by_sequences, by_inputs), int(not self.jobs))

    def add(self, job: Job) -> None:
        """Adds a job that was sent to the process."""
        self._advance()
        job.steps_left = self.costs.steps(job.message)
        self._encode_seconds += self.costs.encode_seconds(job.message)
        self.jobs[job.id] = job
        steps_seconds = job.steps_left * self.costs.step_seconds(self.width)
        job.forecast = self._encode_seconds + steps_seconds

    def remove(self, job_id: int) -> Job | None:
        """Removes a job that has ended."""
        self._advance()
        job = self.jobs.pop(job_id, None)
        if not self.jobs:
            self._encode_seconds = 0.0
        return job

    def is_in_time(self, candidate: Job) -> bool:
        """Whether the job would end in time, and no running job would end late because of it."""
        if not self.jobs:
            return True
        self._advance()
        if (
            self.seconds_to_end(candidate) + self.costs.margin
            > candidate.deadline - self._updated_at
        ):
            return False
        now = self._updated_at + self.costs.lag
        correction = self.costs.correction
        encode_seconds = correction * self._encode_seconds
        added_seconds = correction * self.costs.encode_seconds(candidate.message)
        step_seconds = correction * self.costs.step_seconds(self.width)
        next_step_seconds = correction * self.costs.step_seconds(self.width + candidate.width)
        for job in self.jobs.values():
            end = now + encode_seconds + job.steps_left * step_seconds
            next_end = end + added_seconds + job.steps_left * (next_step_seconds - step_seconds)
            if end <= job.deadline < next_end and not job.future.done():
                return False
        return True

    def seconds_to_end(self, candidate: Job) -> float:
        """Estimates when the job would end if it joined the others now."""
        encodes = self._encode_seconds + self.costs.encode_seconds(candidate.message)
        step_seconds = self.costs.step_seconds(self.width + candidate.width)
        steps = self.costs.steps(candidate.message) * step_seconds
        return self.costs.correction * (encodes + steps) + self.costs.lag

    @property
    def longest_call_seconds(self) -> float:
        """Estimated seconds of its longest native call, which no message interrupts."""
        encodes = (self.costs.encode_seconds(job.message) for job in self.jobs.values())
        return max(self.costs.step_seconds(self.width), *encodes, 0.0)

    @property
    def seconds_to_free_slot(self) -> float:
        """Estimated seconds until one of the jobs ends."""
        self._advance()
        steps = min((job.steps_left for job in self.jobs.values()), default=0.0)
        seconds = self._encode_seconds + steps * self.costs.step_seconds(self.width)
        return self.costs.correction * seconds

    def _advance(self) -> None:
        """Brings the forecast up to now."""
        now = time.perf_counter()
        elapsed = now - self._updated_at
        self._updated_at = now
        if not self.jobs:
            return
        encoded = min(elapsed, self._encode_seconds)
        self._encode_seconds -= encoded
        step_seconds = self.costs.step_seconds(self.width)
        if step_seconds:
            steps = (elapsed - encoded) / step_seconds
            for job in self.jobs.values():
                job.steps_left = max(1.0, job.steps_left - steps)
