"""The engine: queues jobs, gives them to worker processes, starts anew those that die."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from t5serve.decoding.config import GenerationConfig
from t5serve.engine.config import WorkerConfig
from t5serve.engine.process import Process, WorkerProcess
from t5serve.engine.quarantine import Quarantine
from t5serve.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    InputQuarantined,
    InvalidRequest,
    NotReady,
    QueueFull,
    ServerFault,
    StartupError,
)
from t5serve.wire import (
    Cancel,
    Cancelled,
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

logger = logging.getLogger(__name__)

STALL_SECONDS = 30.0  # without an answer to a cancellation a worker counts as hung
HEALTHY_SECONDS = 60.0  # a worker that lived this long starts anew at once
MAX_BACKOFF_SECONDS = 30.0


@dataclass(eq=False)
class Job:
    """One message to a worker and who waits for its outcome."""

    message: JobMessage
    future: asyncio.Future[Outcome]
    submitted: float = field(default_factory=time.perf_counter)
    dispatched: float = 0.0
    on_progress: Callable[[Progress], None] | None = None
    streamed: bool = False
    """Some of its text is with its caller already: it can't be begun again."""
    alone: bool = False
    """Retried after a worker died with it: runs with no other job beside it."""
    watch: asyncio.TimerHandle | None = None
    """Set once it is cancelled: ends a worker that does not answer."""

    @property
    def width(self) -> int:
        """Sequences that it takes."""
        return self.message.config.width if isinstance(self.message, Generate) else 1


@dataclass(eq=False)
class Worker:
    """A ready worker and the jobs that it has."""

    process: Process
    sequences: int
    inputs: int
    jobs: dict[int, Job] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Sequences that its jobs take."""
        return sum(job.width for job in self.jobs.values())

    def takes(self, job: Job) -> bool:
        if not self.jobs:
            return True
        if job.alone or any(other.alone for other in self.jobs.values()):
            return False
        return len(self.jobs) < self.inputs and self.width + job.width <= self.sequences


class Result(NamedTuple):
    """A generation, and the milliseconds that it waited for a worker."""

    generated: Generated
    queue_ms: float


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
        self._max_queue = max_queue
        self._queue: deque[Job] = deque()
        self._workers: list[Worker] = []
        self._supervisors: list[asyncio.Task[None]] = []
        self._numbers = itertools.count(1)
        self._quarantine = Quarantine()
        self._settled = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self.model: ModelInfo | None = None
        self.failure: str | None = None
        """Why no worker will ever be ready."""
        self.restarts = 0
        self.on_generated: Callable[[Generated, float], None] = lambda _generated, _queue_ms: None
        """Told of every generation, and the milliseconds that it waited."""

    def start(self) -> None:
        """Starts the workers; `ready` waits for them."""
        self._supervisors = [
            asyncio.create_task(self._supervise(config)) for config in self._configs
        ]

    async def ready(self) -> ModelInfo:
        """Waits until every worker is ready.

        Raises:
            StartupError: the model can't be loaded.
        """
        await self._settled.wait()
        if self.failure is not None or self.model is None:
            raise StartupError(self.failure or "closed while loading")
        return self.model

    @property
    def state(self) -> str:
        """One of failed, draining, loading, restarting, ready."""
        if self.failure is not None:
            return "failed"
        if self._draining:
            return "draining"
        if not self._settled.is_set():
            return "loading"
        return "ready" if self._workers else "restarting"

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
            RequestError: any of the classes below it that the engine can answer with.
        """
        stream = on_progress is not None
        message = Generate(next(self._numbers), config, text, ids, list(stop), stream)
        outcome, queued = await self._run(message, timeout, on_progress)
        if not isinstance(outcome, Generated):
            raise ServerFault("the engine gave an unexpected answer")
        self.on_generated(outcome, queued)
        return Result(outcome, queued)

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
            raise ServerFault("the engine gave an unexpected answer")
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
            raise ServerFault("the engine gave an unexpected answer")
        return outcome

    @property
    def waiting(self) -> int:
        """Jobs that wait for a worker."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Jobs that workers have."""
        return sum(len(worker.jobs) for worker in self._workers)

    def room(self, width: int) -> int:
        """Inputs of so many sequences each that would be taken now."""
        free = 0
        for worker in self._workers:
            fitting = min((worker.sequences - worker.width) // width, worker.inputs)
            free += max(fitting, int(not worker.jobs))
        return free + max(0, self._max_queue - len(self._queue))

    def drain(self) -> None:
        """Takes no more jobs."""
        self._draining = True

    async def close(self, drain_seconds: float = 0.0) -> None:
        """Lets the jobs it has finish for so long, then ends the workers."""
        self.drain()
        if drain_seconds:
            try:
                await asyncio.wait_for(self._idle.wait(), drain_seconds)
            except TimeoutError:
                logger.warning("%d jobs did not finish in time", self._pending())
        for task in self._supervisors:
            task.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        for job in self._queue:
            _fail(job, NotReady("the service is shutting down"))
        self._queue.clear()
        self._settled.set()

    async def _run(
        self,
        message: JobMessage,
        timeout: float,  # noqa: ASYNC109
        on_progress: Callable[[Progress], None] | None = None,
    ) -> tuple[Outcome, float]:
        if self.state != "ready":
            raise NotReady(f"the service is {self.state}")
        if self._quarantine.holds(message):
            raise InputQuarantined("this input ended a worker process twice and is refused")
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        job = Job(message, future, on_progress=on_progress)
        self._queue.append(job)
        self._dispatch()
        if job in self._queue and len(self._queue) > self._max_queue:
            self._queue.remove(job)
            raise QueueFull(f"{self._max_queue} jobs are waiting already")
        try:
            async with asyncio.timeout(timeout):
                outcome = await job.future
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the model was done") from None
        finally:
            if not job.future.done() or job.future.cancelled():
                self._abandon(job)
        if isinstance(outcome, Refused):
            error = ContextLengthExceeded if outcome.too_long else InvalidRequest
            raise error(outcome.message)
        if isinstance(outcome, Failed):
            logger.error("job failed in the worker: %s", outcome.message)
            raise ServerFault("the model could not decode this input")
        return outcome, 1000 * (job.dispatched - job.submitted)

    def _dispatch(self) -> None:
        """Gives waiting jobs to workers, first come first served."""
        while self._queue:
            job = self._queue[0]
            if job.future.done():  # its caller has left
                self._queue.popleft()
                continue
            worker = min(
                (w for w in self._workers if w.takes(job)), key=lambda w: w.width, default=None
            )
            if worker is None:
                break
            self._queue.popleft()
            job.dispatched = time.perf_counter()
            worker.jobs[job.message.job] = job
            worker.process.send(job.message)
        self._note_idle()

    def _abandon(self, job: Job) -> None:
        """Nobody waits for the job any more; its place is free when the worker has let go of it."""
        if job in self._queue:
            self._queue.remove(job)
        for worker in self._workers:
            if job.message.job in worker.jobs and job.watch is None:
                worker.process.send(Cancel(job.message.job))
                loop = asyncio.get_running_loop()
                job.watch = loop.call_later(STALL_SECONDS, self._end_hung, worker, job)
        self._dispatch()

    def _end_hung(self, worker: Worker, job: Job) -> None:
        if job.message.job in worker.jobs:
            logger.error("worker %d does not answer; ending it", worker.process.pid)
            worker.process.kill()

    async def _supervise(self, config: WorkerConfig) -> None:
        """Keeps one worker running, until it turns out that none ever will."""
        deaths = 0
        while True:
            started = time.monotonic()
            try:
                problem = await self._run_worker(config)
            except (OSError, ValueError, msgspec.DecodeError) as error:
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
        self.model = first.model
        worker = Worker(process, first.sequences, first.inputs)
        self._workers.append(worker)
        if len(self._workers) == len(self._configs):
            self._settled.set()
        try:
            self._dispatch()
            while (message := await process.receive()) is not None:
                if isinstance(message, Cancelled):
                    self._let_go(worker, message.job)
                elif isinstance(message, Progress):
                    self._pass_on(worker, message)
                elif not isinstance(message, Ready | Unloadable):
                    self._settle(worker, message)
        finally:
            self._workers.remove(worker)
            self._bury(worker)
        return None

    def _pass_on(self, worker: Worker, progress: Progress) -> None:
        job = worker.jobs.get(progress.job)
        if job is not None and job.on_progress is not None and not job.future.done():
            job.streamed = True
            job.on_progress(progress)

    def _settle(self, worker: Worker, outcome: Outcome) -> None:
        job = worker.jobs.get(outcome.job)
        if job is None or job.watch is not None:  # cancelled: the answer to that comes next
            return
        del worker.jobs[outcome.job]
        self._quarantine.clear(job.message)
        if not job.future.done():
            job.future.set_result(outcome)
        self._dispatch()

    def _let_go(self, worker: Worker, number: int) -> None:
        job = worker.jobs.pop(number, None)
        if job is not None and job.watch is not None:
            job.watch.cancel()
        self._dispatch()

    def _bury(self, worker: Worker) -> None:
        """Retries the jobs of a dead worker once, each alone; blames one that was alone."""
        jobs = list(worker.jobs.values())
        worker.jobs.clear()
        for job in jobs:
            if job.watch is not None:
                job.watch.cancel()
            if self._draining:
                _fail(job, NotReady("the service is shutting down"))
            elif len(jobs) == 1 and self._quarantine.blame(job.message):
                _fail(job, InputQuarantined("this input ended a worker process twice"))
            elif job.streamed:
                _fail(job, ServerFault("the worker process ended before this input was decoded"))
            elif job.alone:
                _fail(job, ServerFault("the worker process ended twice while decoding this input"))
            elif not job.future.done():
                job.alone = True
                self._queue.appendleft(job)
        self._dispatch()

    def _pending(self) -> int:
        return self.waiting + self.running

    def _note_idle(self) -> None:
        if self._pending():
            self._idle.clear()
        else:
            self._idle.set()


def _fail(job: Job, error: Exception) -> None:
    if not job.future.done():
        job.future.set_exception(error)
