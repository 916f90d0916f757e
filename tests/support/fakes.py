"""Hand-written fakes of worker processes, and of the engine that runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from t5engine.config import WorkerConfig
from t5engine.cpus import count_threads
from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import (
    Cancel,
    Costs,
    FromWorker,
    Generate,
    Generated,
    JobMessage,
    ModelInfo,
    Output,
    Ready,
    Timings,
    ToWorker,
    Unloadable,
)
from t5engine.pool.engine import Engine
from t5engine.pool.result import Result
from t5serve.models.declaration import Declaration
from t5serve.models.registry import ModelRegistry
from t5serve.models.served_model import ServedModel
from t5serve.models.slot import ModelSlot
from t5serve.settings import Settings

MODEL = ModelInfo(
    name="fake",
    description="no model at all",
    n_vocab=10,
    max_input_tokens=512,
    max_tokens=128,
    metadata={"t5serve.tasks": "paraphrase,fix", "t5serve.prefix.fix": "fix: "},
)
NO_COSTS = Costs()
NOT_MEASURED: Mapping[int, float] = {}
CONFIG = WorkerConfig("fake.gguf", threads=1, cpus=[], max_input_tokens=512)


def answer(message: JobMessage, *texts: str) -> Generated:
    """Returns what a worker would send; its text is the input in capitals by default."""
    assert isinstance(message, Generate)
    return Generated(
        job=message.job,
        outputs=[
            Output(
                text=text,
                tokens=[3, 4],
                logprob=-1.5 - rank,
                decoded=3,
                score=-0.5 - rank / 3,
                finish_reason="stop",
            )
            for rank, text in enumerate(texts or [(message.text or "").upper()])
        ],
        prompt_tokens=5,
        timings=Timings(0.1, 1.0, 2.0),
        batch=1,
    )


class FakeProcess:
    """A worker process whose part the test plays: it reads `inbox`, and calls `reply` or `die`.

    Args:
        capacity: maximum concurrent sequences, and maximum concurrent jobs.
        costs: what the worker says that it measured.
        config: what the worker is started with.
        step_seconds: of a step, by the number of threads, if the worker may be split.
    """

    pid = 1

    def __init__(
        self,
        capacity: int,
        costs: Costs = NO_COSTS,
        config: WorkerConfig = CONFIG,
        step_seconds: Mapping[int, float] = NOT_MEASURED,
    ) -> None:
        self.capacity = capacity
        self.costs = costs
        self.config = config
        self.step_seconds = dict(step_seconds) if config.can_split else {}
        self.inbox: list[JobMessage] = []
        self.cancelled: list[int] = []
        self.alive = True
        self._outbox: asyncio.Queue[FromWorker | None] = asyncio.Queue()

    def send(self, message: ToWorker) -> None:
        if isinstance(message, Cancel):
            self.cancelled.append(message.job)
        else:
            self.inbox.append(message)

    async def receive(self) -> FromWorker | None:
        return await self._outbox.get()

    def is_runnable(self) -> bool:
        return False

    def resident_bytes(self) -> int:
        return 1_000_000

    def kill(self) -> None:
        self.die()

    async def close(self) -> str:
        self.alive = False
        return "was closed by the test"

    def ready(self) -> None:
        steps = self.step_seconds
        self.reply(
            Ready(
                MODEL,
                threads=count_threads(steps) if steps else self.config.threads,
                max_sequences=self.capacity,
                max_inputs=self.capacity,
                costs=self.costs,
                step_seconds=steps,
            )
        )

    def reply(self, message: FromWorker) -> None:
        self._outbox.put_nowait(message)

    def die(self) -> None:
        self._outbox.put_nowait(None)


class FakePool:
    """Starts fake processes, and keeps them in the order of their start."""

    def __init__(
        self,
        capacity: int = 1,
        unloadable: str | None = None,
        costs: Costs = NO_COSTS,
        step_seconds: Mapping[int, float] = NOT_MEASURED,
    ) -> None:
        self._costs = costs
        self._step_seconds = step_seconds
        self.processes: list[FakeProcess] = []
        self._capacity = capacity
        self._unloadable = unloadable

    async def start(self, config: WorkerConfig) -> FakeProcess:
        process = FakeProcess(self._capacity, self._costs, config, self._step_seconds)
        self.processes.append(process)
        if self._unloadable is None:
            process.ready()
        else:
            process.reply(Unloadable(self._unloadable))
        return process

    @property
    def newest(self) -> FakeProcess:
        return self.processes[-1]


def submit(engine: Engine, text: str, seconds: float = 5.0) -> asyncio.Task[Result]:
    """Starts a greedy generation, which ends once the fake process replies."""
    config = GenerationConfig(max_tokens=8)
    return asyncio.create_task(engine.generate(config, text=text, timeout=seconds))


def unstarted_models() -> ModelRegistry:
    """Returns the models of an application that never runs."""
    settings = Settings()
    engine = Engine([CONFIG], max_queue=64, start=FakePool().start)
    model = ServedModel(engine, settings, Path("fake.gguf"))
    return ModelRegistry([ModelSlot(Declaration.of_settings(settings), model)], settings)


async def settle() -> None:
    """Lets all tasks run until they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


def with_engine(
    test: Callable[[Engine, FakePool], Awaitable[None]],
    *,
    capacity: int = 1,
    workers: int = 1,
    max_queue: int = 8,
    costs: Costs = NO_COSTS,
) -> None:
    """Runs a test's coroutine with an engine of fake processes."""

    async def run() -> None:
        pool = FakePool(capacity, costs=costs)
        async with Engine([CONFIG] * workers, max_queue=max_queue, start=pool.start) as engine:
            await test(engine, pool)

    asyncio.run(run())
