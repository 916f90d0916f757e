"""The engine: generates, scores and tokenises through worker processes, and restarts them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from t5engine.config import WorkerConfig
from t5engine.cpus import Share
from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import EngineNotReady, InputTooLong, InvalidInput, JobError, JobFailed
from t5engine.messages import (
    Cut,
    Failed,
    Generate,
    Generated,
    JobMessage,
    ModelInfo,
    Outcome,
    Progress,
    Refused,
    Score,
    Scored,
    Tokenize,
    Tokenized,
)
from t5engine.pool.job import Job
from t5engine.pool.judging import Judging
from t5engine.pool.limits import InputLimits
from t5engine.pool.pool import WorkerPool
from t5engine.pool.process import Process, WorkerProcess
from t5engine.pool.result import Result
from t5engine.pool.turns import current_turn

logger = logging.getLogger(__name__)

STALL_SECONDS = 1.0
POLL_SECONDS = 0.02


async def _is_unchanged() -> bool:
    return True


class Engine:
    """A pool of supervised worker processes.

    Args:
        workers: one config per worker process, all of the same model.
        max_queue: maximum number of queued jobs.
        stall_seconds: the silence after which a worker is taken for hung and ended.
        is_model_unchanged: whether the file is the one that the first worker loaded; another file
            needs another engine.
        start: starts a worker process.

    Attributes:
        limits: refuses and shortens texts that no worker takes.
        on_generated: called with the result of every generation.
        judging: judges texts, as reranking needs.
    """

    def __init__(
        self,
        workers: Sequence[WorkerConfig],
        *,
        max_queue: int,
        stall_seconds: float = STALL_SECONDS,
        is_model_unchanged: Callable[[], Awaitable[bool]] = _is_unchanged,
        start: Callable[[WorkerConfig], Awaitable[Process]] = WorkerProcess.start,
    ) -> None:
        self._pool = WorkerPool(
            workers,
            max_queue=max_queue,
            stall_seconds=stall_seconds,
            is_model_unchanged=is_model_unchanged,
            start=start,
        )
        self.limits = InputLimits(max(config.max_input_tokens for config in workers))
        self._job_ids = itertools.count(1)
        self.judging = Judging(self._pool, self._run, self._job_ids)
        self.on_generated: Callable[[Result], None] = lambda _result: None

    async def __aenter__(self) -> Self:
        """Starts the workers and waits until the model is loaded.

        Raises:
            ModelLoadError: the model can't be loaded.
        """
        self.start()
        try:
            await self.ready()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """Starts the workers without waiting for them; see `ready`."""
        self._pool.start()

    async def ready(self) -> ModelInfo:
        """Waits until a worker is ready.

        Raises:
            ModelLoadError: the model can't be loaded.
        """
        return await self._pool.ready()

    async def wait_for_workers(self, timeout: float = 60.0) -> None:  # noqa: ASYNC109
        """Waits until all workers are ready, or the time is over; a model answers with one."""
        deadline = time.monotonic() + timeout
        while self._pool.dispatcher.ready_workers < len(self.shares):
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(POLL_SECONDS)

    def drain(self, seconds: float | None = None) -> None:
        """Refuses new jobs from now on, and fails those that are not done after `seconds`."""
        self._pool.drain(seconds)

    async def close(self, drain_seconds: float = 0.0) -> None:
        """Refuses new jobs, gives the others `drain_seconds` to finish, then ends the workers."""
        await self._pool.close(drain_seconds)

    @property
    def model(self) -> ModelInfo | None:
        """Facts about the loaded file; None until a worker is ready."""
        return self._pool.status.model

    @property
    def failure(self) -> str | None:
        """Why no worker will ever be ready; None unless loading failed."""
        return self._pool.status.failure

    @property
    def features(self) -> list[str]:
        """Processor features that the workers' kernels were compiled for, by ggml's names."""
        return self._pool.status.features

    @property
    def shares(self) -> list[Share]:
        """The share of the machine of each worker; final once a worker is ready."""
        return self._pool.shares

    @property
    def step_seconds(self) -> dict[int, float]:
        """Seconds of a step of one sequence, by the number of threads; empty: not measured."""
        return self._pool.status.step_seconds

    @property
    def restarts(self) -> int:
        """Number of workers restarted so far."""
        return self._pool.status.restarts

    @property
    def state(self) -> str:
        """One of "failed", "draining", "loading", "restarting" and "ready"."""
        return self._pool.state

    def not_ready(self) -> EngineNotReady:
        """Builds the error that says why no worker is ready, and when one should be."""
        return self._pool.not_ready()

    @property
    def max_queue(self) -> int:
        """Maximum number of queued jobs."""
        return self._pool.dispatcher.max_queue

    @property
    def resident_bytes(self) -> int:
        """Memory of the ready workers' processes, in bytes; mapped files count in each."""
        return self._pool.dispatcher.resident_bytes

    @property
    def waiting(self) -> int:
        """Number of queued jobs."""
        return self._pool.dispatcher.waiting

    @property
    def running(self) -> int:
        """Number of jobs that workers run."""
        return self._pool.dispatcher.running

    def free_slots(self, width: int) -> int:
        """Returns how many inputs of `width` sequences each could be submitted now."""
        return self._pool.dispatcher.free_slots(width)

    def refusal_of(
        self,
        config: GenerationConfig,
        text: str,
        timeout: float,
        client: Hashable,
        cut: Cut | None = None,
    ) -> JobError | None:
        """Returns the error with which `generate` would refuse an input now.

        Args:
            config: generation parameters.
            text: the encoder's input.
            timeout: seconds, including the time in the queue.
            client: who asks; clients take turns.
            cut: the range of the text that may be shortened.

        Returns:
            The error, for lack of time or room. None: `generate` is expected to be called.
        """
        return self._pool.refusal_of(Generate(0, config, text, cut=cut), timeout, client)

    @property
    def is_overloaded(self) -> bool:
        """Whether jobs wait, or were refused lately."""
        return self.waiting > 0 or self._pool.brake.is_recent

    def refusal_delay(self) -> float:
        """Counts a refusal; returns the seconds to wait before it is sent."""
        return self._pool.brake.delay()

    async def generate(
        self,
        config: GenerationConfig,
        *,
        timeout: float,  # noqa: ASYNC109 - the caller splits its budget
        text: str | None = None,
        ids: list[int] | None = None,
        stop: Sequence[str] = (),
        on_progress: Callable[[Progress], None] | None = None,
        cut: Cut | None = None,
    ) -> Result:
        """Decodes one input, given as text or as token ids.

        Args:
            config: generation parameters.
            timeout: seconds, including the time in the queue.
            text: the encoder's input.
            ids: the encoder's input as token ids, instead of `text`.
            stop: strings at which a sequence ends.
            on_progress: called with more text of a sequence as soon as the text is settled.
            cut: the range of the text that is shortened if the text has too many tokens; None: such
                a text is refused.

        Raises:
            JobError: always one of its subclasses.
        """
        stream = on_progress is not None
        turn = hash(current_turn.get())
        if text is not None and cut is not None:
            text, cut = self.limits.trim(text, cut)
        message = Generate(next(self._job_ids), config, text, ids, list(stop), stream, turn, cut)
        outcome, job = await self._run(message, timeout, on_progress)
        if not isinstance(outcome, Generated):
            raise JobFailed("the worker answered with an unexpected message")
        result = Result(
            outcome,
            queue_ms=1000 * (job.dispatched_at - job.submitted_at),
            ipc_ms=1000 * (time.perf_counter() - job.dispatched_at) - outcome.timings.total,
        )
        self.on_generated(result)
        return result

    async def score(
        self,
        encoder_ids: list[int],
        decoder_ids: list[int],
        *,
        timeout: float = 60.0,  # noqa: ASYNC109
    ) -> npt.NDArray[np.float32]:
        """Returns the logits after each decoder input, (len(decoder_ids), n_vocab)."""
        message = Score(next(self._job_ids), encoder_ids, decoder_ids)
        outcome, _ = await self._run(message, timeout)
        if not isinstance(outcome, Scored):
            raise JobFailed("the worker answered with an unexpected message")
        return np.frombuffer(outcome.logits, "<f4").reshape(len(decoder_ids), -1)

    async def tokenize(
        self,
        text: str | None = None,
        ids: list[int] | None = None,
        *,
        timeout: float = 60.0,  # noqa: ASYNC109
    ) -> Tokenized:
        """Returns token ids and the text of each id.

        Args:
            text: is tokenised; the ids end with `</s>`.
            ids: are returned with their texts, instead of `text`.
            timeout: seconds, including the time in the queue.
        """
        outcome, _ = await self._run(Tokenize(next(self._job_ids), text, ids), timeout)
        if not isinstance(outcome, Tokenized):
            raise JobFailed("the worker answered with an unexpected message")
        return outcome

    async def _run(
        self,
        message: JobMessage,
        timeout: float,  # noqa: ASYNC109
        on_progress: Callable[[Progress], None] | None = None,
    ) -> tuple[Outcome, Job]:
        if getattr(message, "cut", None) is None:
            self.limits.fit(getattr(message, "text", None) or "")
        outcome, job = await self._pool.run(message, timeout, on_progress)
        if isinstance(outcome, Refused):
            error = InputTooLong if outcome.too_long else InvalidInput
            raise error(outcome.message)
        if isinstance(outcome, Failed):
            logger.error("job failed in the worker: %s", outcome.message)
            raise JobFailed("the model could not decode this input")
        return outcome, job
