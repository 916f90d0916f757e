"""A worker whose steps are short is split into workers of one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import pytest

from support.fakes import CONFIG, FakePool, answer, settle, submit
from t5engine.config import WorkerConfig
from t5engine.cpus import MOST_WORKERS, Share
from t5engine.pool.engine import Engine
from t5engine.pool.pool import count_workers

SHORT = {1: 0.0004, 4: 0.0005}
LONG = {1: 0.0060, 4: 0.0020}
FOUR = msgspec.structs.replace(CONFIG, threads=4, cpus=[0, 1, 2, 3], can_split=True)


def run(
    test: Callable[[Engine, FakePool], Awaitable[None]],
    step_seconds: Mapping[int, float],
    config: WorkerConfig = FOUR,
) -> None:
    """Runs a test with an engine of one worker that finds its steps to take so long."""

    async def run_engine() -> None:
        pool = FakePool(step_seconds=step_seconds)
        async with Engine([config], max_queue=8, start=pool.start) as engine:
            await engine.wait_for_workers()
            await test(engine, pool)

    asyncio.run(run_engine())


def test_short_steps() -> None:
    """Each core has a worker of its own, and none of the new ones measures again."""

    async def test(engine: Engine, pool: FakePool) -> None:
        assert engine.shares == [Share(1, (cpu,)) for cpu in range(4)]
        assert [process.config.threads for process in pool.processes] == [4, 1, 1, 1]
        assert [process.config.can_split for process in pool.processes] == [True] + [False] * 3
        assert engine.step_seconds == SHORT
        tasks = [submit(engine, text) for text in "abcd"]
        await settle()
        assert [len(process.inbox) for process in pool.processes] == [1, 1, 1, 1]
        for process in pool.processes:
            process.reply(answer(process.inbox[0]))
        await asyncio.gather(*tasks)

    run(test, SHORT)


def test_long_steps() -> None:
    """A model whose steps take long keeps one worker with all threads."""

    async def test(engine: Engine, pool: FakePool) -> None:
        assert engine.shares == [Share(4, (0, 1, 2, 3))]
        assert len(pool.processes) == 1
        assert engine.step_seconds == LONG

    run(test, LONG)


@pytest.mark.parametrize("steps", [SHORT, LONG])
def test_the_decision_stands(steps: dict[int, float]) -> None:
    """A worker that takes the place of a dead one does not measure: it gets what was decided."""

    async def test(engine: Engine, pool: FakePool) -> None:
        before = engine.shares
        started = len(pool.processes)
        pool.processes[0].die()
        await settle()
        assert len(pool.processes) == started + 1
        assert pool.newest.config.threads == before[0].threads
        assert not pool.newest.config.can_split
        assert engine.shares == before

    run(test, steps)


def test_a_forced_number_is_respected() -> None:
    """A worker that may not be split stays one, however short its steps are."""

    async def test(engine: Engine, pool: FakePool) -> None:
        assert engine.shares == [Share(4, (0, 1, 2, 3))]
        assert len(pool.processes) == 1

    run(test, SHORT, msgspec.structs.replace(FOUR, can_split=False))


def test_workers_that_are_not_pinned() -> None:
    """Where the kernel places a worker's threads, it places the workers."""

    async def test(engine: Engine, _pool: FakePool) -> None:
        assert engine.shares == [Share(1, ())] * 4

    run(test, SHORT, msgspec.structs.replace(FOUR, cpus=[]))


@pytest.mark.parametrize(
    ("threads", "available", "expected"),
    [
        (4, None, 4),
        (4, 10_000, 4),
        (4, 599, 3),  # half of it has room for two beside the first one
        (4, 100, 1),
        (64, None, MOST_WORKERS),
    ],
)
def test_workers_have_to_fit(threads: int, available: int | None, expected: int) -> None:
    """Further workers take at most half of the available memory, and there is a most of them."""
    assert count_workers(threads, 100, available) == expected
