"""Judges texts with the workers of an engine: the logits of two tokens at the first step."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

from t5engine.errors import DeadlineExceeded, JobFailed
from t5engine.messages import Cut, JobMessage, Judge, Judged, Outcome
from t5engine.pool.job import Job
from t5engine.pool.pool import WorkerPool
from t5engine.pool.turns import current_turn
from t5engine.pool.worker import MAX_JUDGEMENTS


class Judging:
    """Judges texts; each text is a job.

    Args:
        pool: the workers.
        run: runs a job; see `Engine`.
        job_ids: numbers jobs.

    Attributes:
        on_judged: called with every result, and with its milliseconds in the queue and between
            the processes.
    """

    def __init__(
        self,
        pool: WorkerPool,
        run: Callable[[JobMessage, float], Awaitable[tuple[Outcome, Job]]],
        job_ids: Iterator[int],
    ) -> None:
        self._pool = pool
        self._run = run
        self._job_ids = job_ids
        self.on_judged: Callable[[Judged, float, float], None] = lambda _judged, _queue, _ipc: None

    @property
    def places(self) -> int:
        """The most texts that a request submits at the same time; further ones would only wait."""
        return MAX_JUDGEMENTS * max(1, len(self._pool.dispatcher.workers))

    def check_time(self, lengths: Sequence[int], seconds: float) -> None:
        """Refuses texts that idle workers could not judge in time.

        Args:
            lengths: the characters of each text.
            seconds: until the deadline.

        Raises:
            DeadlineExceeded: the time is too short.
        """
        if not self._pool.dispatcher.forecast.can_judge(lengths, seconds):
            message = f"the deadline is shorter than the model needs for {len(lengths)} inputs"
            raise DeadlineExceeded(message)

    async def judge(
        self,
        text: str,
        positive: int | str,
        negative: int | str,
        *,
        cut: Cut | None = None,
        timeout: float,  # noqa: ASYNC109 - the caller splits its budget
    ) -> Judged:
        """Returns the logits of two tokens at the first step.

        Args:
            text: the encoder's input.
            positive: the piece of the first token, as the vocabulary has it, or its id.
            negative: the piece or the id of the second token.
            cut: the part of the text that is shortened if the text has too many tokens.
            timeout: seconds, including the time in the queue.

        Raises:
            JobError: always one of its subclasses.
        """
        turn = hash(current_turn.get())
        message = Judge(next(self._job_ids), text, positive, negative, cut, turn)
        outcome, job = await self._run(message, timeout)
        if not isinstance(outcome, Judged):
            raise JobFailed("the worker answered with an unexpected message")
        queue_ms = 1000 * (job.dispatched_at - job.submitted_at)
        ipc_ms = 1000 * (time.perf_counter() - job.dispatched_at) - outcome.timings.total
        self.on_judged(outcome, queue_ms, ipc_ms)
        return outcome
