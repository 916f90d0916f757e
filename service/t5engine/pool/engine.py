"""The engine: what it can be asked, and the worker processes that it keeps running."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from t5engine.config import WorkerConfig
from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import (
    DeadlineExceeded,
    EngineNotReady,
    InputTooLong,
    InvalidInput,
    JobFailed,
    ModelLoadError,
)
from t5engine.messages import (
    Failed,
    Generate,
    Generated,
    JobMessage,
    ModelInfo,
    Outcome,
    Progress,
    Ready,
    Refused,
    Score,
    Scored,
    Tokenize,
    Tokenized,
    Unloadable,
)
from t5engine.pool.dispatcher import Dispatcher, Job, Worker
from t5engine.pool.process import Process, WorkerProcess

logger = logging.getLogger(__name__)

HEALTHY_SECONDS = 60.0  # a worker that lived this long starts anew at once
MAX_BACKOFF_SECONDS = 30.0
CHARACTERS_PER_TOKEN = 8  # twice as many as English has


class Result(NamedTuple):
    """A generation, and the milliseconds that it waited for a worker and was on its way."""

    generated: Generated
    queue_ms: float
    ipc_ms: float


class Engine:
    """A pool of supervised worker processes.

    Args:
        workers: one config per worker process, all of the same model.
        max_queue: jobs that may wait for a worker.
        start: starts a worker process.
    """

    def __init__(
        self,
        workers: Sequence[WorkerConfig],
        *,
        max_queue: int,
        start: Callable[[WorkerConfig], Awaitable[Process]] = WorkerProcess.start,
    ) -> None:
        self._configs = workers
        self._start_process = start
        self._dispatcher = Dispatcher(max_queue)
        # A run of unknown characters is one token however long it is.
        self._max_characters = CHARACTERS_PER_TOKEN * max(one.max_input_tokens for one in workers)
        self._supervisors: list[asyncio.Task[None]] = []
        self._numbers = itertools.count(1)
        self._settled = asyncio.Event()
        self.model: ModelInfo | None = None
        self.failure: str | None = None
        """Why no worker will ever be ready."""
        self.features: list[str] = []
        """Of the processor, by ggml's names, that the workers' kernels were compiled for."""
        self.restarts = 0
        self.on_generated: Callable[[Result], None] = lambda _result: None
        """Told of every generation."""

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
        """Starts the workers; `ready` waits for them."""
        self._supervisors = [
            asyncio.create_task(self._supervise(config)) for config in self._configs
        ]

    async def ready(self) -> ModelInfo:
        """Waits until every worker is ready.

        Raises:
            ModelLoadError: the model can't be loaded.
        """
        await self._settled.wait()
        if self.failure is not None or self.model is None:
            raise ModelLoadError(self.failure or "closed while loading")
        return self.model

    @property
    def state(self) -> str:
        """One of failed, draining, loading, restarting, ready."""
        if self.failure is not None:
            return "failed"
        if self._dispatcher.draining:
            return "draining"
        if not self._settled.is_set():
            return "loading"
        return "ready" if self._dispatcher.workers else "restarting"

    async def generate(
        self,
        config: GenerationConfig,
        *,
        timeout: float,  # noqa: ASYNC109 - a budget that the caller shares out
        text: str | None = None,
        ids: list[int] | None = None,
        stop: Sequence[str] = (),
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Result:
        """Decodes one input, given as text or as token ids.

        Args:
            config: how.
            timeout: seconds, queueing included.
            text: the encoder's input.
            ids: likewise, tokenised.
            stop: strings at which a sequence ends.
            on_progress: called with the text of sequences as it is settled.

        Raises:
            JobError: one of its subclasses.
        """
        stream = on_progress is not None
        message = Generate(next(self._numbers), config, text, ids, list(stop), stream)
        outcome, job = await self._run(message, timeout, on_progress)
        if not isinstance(outcome, Generated):
            raise JobFailed("the engine gave an unexpected answer")
        result = Result(
            outcome,
            queue_ms=1000 * (job.dispatched - job.submitted),
            ipc_ms=1000 * (time.perf_counter() - job.dispatched) - outcome.timings.total,
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
        """Logits after each decoder input, shape (len(decoder_ids), n_vocab)."""
        message = Score(next(self._numbers), encoder_ids, decoder_ids)
        outcome, _ = await self._run(message, timeout)
        if not isinstance(outcome, Scored):
            raise JobFailed("the engine gave an unexpected answer")
        return np.frombuffer(outcome.logits, "<f4").reshape(len(decoder_ids), -1)

    async def tokenize(
        self,
        text: str | None = None,
        ids: list[int] | None = None,
        *,
        timeout: float = 60.0,  # noqa: ASYNC109
    ) -> Tokenized:
        """Token ids of a text, with `</s>`, and the text of each; or the texts of given ids."""
        outcome, _ = await self._run(Tokenize(next(self._numbers), text, ids), timeout)
        if not isinstance(outcome, Tokenized):
            raise JobFailed("the engine gave an unexpected answer")
        return outcome

    @property
    def waiting(self) -> int:
        """Jobs that wait for a worker."""
        return self._dispatcher.waiting

    @property
    def running(self) -> int:
        """Jobs that workers have."""
        return self._dispatcher.running

    def room(self, width: int) -> int:
        """Inputs of so many sequences each that would be taken now."""
        return self._dispatcher.room(width)

    def drain(self) -> None:
        """Takes no more jobs."""
        self._dispatcher.draining = True

    async def close(self, drain_seconds: float = 0.0) -> None:
        """Lets the jobs it has finish for so long, then ends the workers."""
        self.drain()
        if drain_seconds:
            try:
                await asyncio.wait_for(self._dispatcher.idle.wait(), drain_seconds)
            except TimeoutError:
                logger.warning("%d jobs did not finish in time", self.waiting + self.running)
        for task in self._supervisors:
            task.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        self._dispatcher.close()
        self._settled.set()

    async def _run(
        self,
        message: JobMessage,
        timeout: float,  # noqa: ASYNC109
        on_progress: Callable[[Progress], None] | None = None,
    ) -> tuple[Outcome, Job]:
        if self.state != "ready":
            raise EngineNotReady(f"the service is {self.state}")
        # Blanks count once: that is how they are tokenised, and looked through.
        text = getattr(message, "text", None) or ""
        characters = len(" ".join(text.split()))
        if characters > self._max_characters:
            raise InputTooLong(
                f"the input has {characters} characters, at most {self._max_characters} are taken"
            )
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        job = Job(message, future, on_progress=on_progress)
        self._dispatcher.submit(job)
        try:
            async with asyncio.timeout(timeout):
                outcome = await job.future
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the model was done") from None
        finally:
            if not job.future.done() or job.future.cancelled():
                self._dispatcher.abandon(job)
        if isinstance(outcome, Refused):
            error = InputTooLong if outcome.too_long else InvalidInput
            raise error(outcome.message)
        if isinstance(outcome, Failed):
            logger.error("job failed in the worker: %s", outcome.message)
            raise JobFailed("the model could not decode this input")
        return outcome, job

    async def _supervise(self, config: WorkerConfig) -> None:
        """Keeps one worker running, until it turns out that none ever will."""
        deaths = 0
        while True:
            started = time.monotonic()
            try:
                problem = await self._run_worker(config)
            except Exception as error:  # whatever it is, there must be a worker again
                logger.exception("a worker could not be run")
                problem = f"a worker could not be run: {error}"
            if self.model is None:
                self.failure = problem
                self._settled.set()
                return
            deaths = 1 if time.monotonic() - started > HEALTHY_SECONDS else deaths + 1
            delay = min(MAX_BACKOFF_SECONDS, 0.5 * 2.0 ** (deaths - 2)) if deaths > 1 else 0.0
            logger.error("%s; starting another in %.1f s", problem, delay)
            self.restarts += 1
            await asyncio.sleep(delay)

    async def _run_worker(self, config: WorkerConfig) -> str:
        """One worker from its start to its end; why it ended."""
        process = await self._start_process(config)
        failure = None
        try:
            failure = await self._serve(process)
        finally:
            ending = await asyncio.shield(process.close())
        if failure is not None:
            return failure
        loading = " while it loaded the model" if self.model is None else ""
        return f"worker {process.pid} {ending}{loading}"

    async def _serve(self, process: Process) -> str | None:
        """Runs one worker from its start to its death; why it can't load, if it says so."""
        first = await process.receive()
        if isinstance(first, Unloadable):
            return first.message
        if not isinstance(first, Ready):
            return None
        self.model, self.features = first.model, first.features
        worker = Worker(process, first.sequences, first.inputs)
        self._dispatcher.join(worker)
        if len(self._dispatcher.workers) == len(self._configs):
            self._settled.set()
        try:
            while (message := await process.receive()) is not None:
                if not isinstance(message, Ready | Unloadable):
                    self._dispatcher.take(worker, message)
        finally:
            self._dispatcher.bury(worker)
        return None
