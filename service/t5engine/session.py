"""A session: an open engine, and the texts of a call that it has at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

from t5engine.concurrency import map_concurrently
from t5engine.config import WorkerConfig
from t5engine.cpus import plan
from t5engine.errors import DeadlineExceeded, EngineNotReady, QueueFull
from t5engine.pool.engine import Engine

Item = TypeVar("Item")
Answer = TypeVar("Answer")

NO_DEADLINE_SECONDS = 86_400.0
RESTART_SECONDS = 60.0  # how long a call waits for a worker that takes the place of a dead one
RESTART_PAUSE_SECONDS = 0.05


class EngineOptions(TypedDict, total=False):
    """How a model is run; the defaults are those of the service."""

    workers: int | None
    threads: int | None
    max_batch: int
    max_input_tokens: int
    backend: Literal["auto", "graph", "llama"]
    kernels: Literal["auto", "ggml"]
    logit_scale: float | None


class Session:
    """An engine, and how many inputs of a call it has at a time."""

    def __init__(self, engine: Engine, slots: int) -> None:
        self.engine = engine
        self._slots = asyncio.Semaphore(slots)
        self._count = slots

    async def run_each(
        self,
        items: Sequence[Item],
        work: Callable[[Session, Item, float], Awaitable[Answer]],
        timeout: float | None,  # noqa: ASYNC109 - the items share it
    ) -> list[Answer]:
        """Runs the work for all items, not all at once, and returns the answers in order."""
        deadline = time.monotonic() + (NO_DEADLINE_SECONDS if timeout is None else timeout)

        async def run(_index: int, item: Item) -> Answer:
            return await self._run(work, item, deadline)

        return await map_concurrently(run, items, self._count)

    async def _run(
        self,
        work: Callable[[Session, Item, float], Awaitable[Answer]],
        item: Item,
        deadline: float,
    ) -> Answer:
        """Runs the work for an item; waits while a dead worker is replaced."""
        patience = time.monotonic() + RESTART_SECONDS
        while True:
            try:
                async with self._slots:
                    return await work(self, item, max(0.0, deadline - time.monotonic()))
            except QueueFull as error:  # never for lack of room: the slots are fewer
                raise DeadlineExceeded(str(error)) from error
            except EngineNotReady:
                if time.monotonic() > min(deadline, patience):
                    raise
            await asyncio.sleep(RESTART_PAUSE_SECONDS)


@asynccontextmanager
async def open_session(path: Path, options: EngineOptions) -> AsyncIterator[Session]:
    """Starts the workers of a model; ends them at the end.

    Raises:
        ModelLoadError: the model can't be loaded.
    """
    options = {**options}
    shares = plan(options.pop("workers", None), options.pop("threads", None))
    values: Any = {"max_input_tokens": 512, "prompt_lookup_num_tokens": 3, **options}
    configs = [
        WorkerConfig(
            str(path), share.threads, list(share.cpus), can_split=share.can_split, **values
        )
        for share in shares
    ]
    slots = 2 * configs[0].max_batch
    async with Engine(configs, max_queue=slots * max(len(shares), shares[0].threads)) as engine:
        yield Session(engine, slots * len(engine.shares))
