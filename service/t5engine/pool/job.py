"""A job: a message to a worker, and the future of its outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property

from t5engine.messages import Generate, JobMessage, Outcome, Progress


@dataclass(eq=False)
class Job:
    """A message to a worker, and the future of its outcome.

    Attributes:
        deadline: seconds by time.perf_counter, after which nobody waits for the outcome.
        submitted_at: seconds by the same clock at which the job was submitted.
        dispatched_at: seconds by the same clock at which a worker got the job; 0 before.
        turn: who takes turns in the queue: (client, request).
        is_streamed: whether the caller has received text, so that the job can't be retried.
        is_exclusive: whether it is a retry after a worker exited, which must run alone.
        queue_seconds: estimated share of a busy worker's time, when the job was submitted.
        forecast: seconds that were forecast when the job was dispatched.
        is_spare: whether it runs in a row that is reserved for narrow jobs.
        steps_left: estimated number of steps until a running job is done.
        stall_timer: set by a cancellation; kills the worker unless the worker answers.
    """

    message: JobMessage
    future: asyncio.Future[Outcome]
    deadline: float = float("inf")
    submitted_at: float = field(default_factory=time.perf_counter)
    dispatched_at: float = 0.0
    on_progress: Callable[[Progress], None] | None = None
    turn: tuple[Hashable, ...] = ()
    is_streamed: bool = False
    is_exclusive: bool = False
    is_spare: bool = False
    queue_seconds: float = 0.0
    forecast: float = 0.0
    steps_left: float = 0.0
    stall_timer: asyncio.TimerHandle | None = None

    @property
    def id(self) -> int:
        """The number that the job's messages carry."""
        return self.message.job

    @cached_property
    def width(self) -> int:
        """Number of sequences that the job decodes."""
        return self.message.config.width if isinstance(self.message, Generate) else 1

    def fail(self, error: Exception) -> None:
        """Ends the job with an error, unless it has ended."""
        if not self.future.done():
            self.future.set_exception(error)
