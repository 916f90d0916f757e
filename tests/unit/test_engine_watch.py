"""Workers that hang, restarts and readiness, against fake worker processes."""

from __future__ import annotations

import asyncio

import pytest

from support.fakes import CONFIG, FakePool, FakeProcess, answer, settle, submit, with_engine
from t5engine.config import WorkerConfig
from t5engine.errors import DeadlineExceeded, EngineNotReady, JobFailed
from t5engine.messages import Failed, Pulse
from t5engine.pool import examiner, watchdog
from t5engine.pool.engine import Engine


@pytest.fixture
def fast_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at workers every few milliseconds, and allows only the stall seconds."""
    monkeypatch.setattr(watchdog, "CHECK_SECONDS", 0.005)
    monkeypatch.setattr(watchdog, "PULSE_SECONDS", 0.0)


async def wait_for_processes(pool: FakePool, count: int) -> None:
    while len(pool.processes) < count:  # noqa: ASYNC110 - there is no event for a start
        await asyncio.sleep(0.001)
    await settle()


@pytest.mark.usefixtures("fast_watch")
@pytest.mark.parametrize("is_busy", [True, False])
def test_a_silent_worker_is_replaced(*, is_busy: bool) -> None:
    """A worker that hangs is ended, idle or not; its job is decoded by the next one."""

    async def run() -> None:
        pool = FakePool()
        async with Engine([CONFIG], max_queue=8, stall_seconds=0.1, start=pool.start) as engine:
            task = submit(engine, "a", seconds=60) if is_busy else None
            await wait_for_processes(pool, 2)
            if task is not None:
                pool.newest.reply(answer(pool.newest.inbox[0]))
                assert (await task).generated.best.text == "A"

    asyncio.run(run())


@pytest.mark.usefixtures("fast_watch")
def test_a_pulse_keeps_a_worker_alive() -> None:
    """A worker that says that it is alive is left alone for as long as it does."""

    async def run() -> None:
        pool = FakePool()
        async with Engine([CONFIG], max_queue=8, stall_seconds=0.2, start=pool.start) as engine:
            for _ in range(60):
                pool.newest.reply(Pulse())
                await asyncio.sleep(0.01)
            assert len(pool.processes) == 1
            assert engine.state == "ready"

    asyncio.run(run())


@pytest.mark.usefixtures("fast_watch")
def test_a_starved_worker_has_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that wants to run but gets no processor does not hang."""
    monkeypatch.setattr(FakeProcess, "is_runnable", lambda _self: True)
    monkeypatch.setattr(watchdog, "STARVED_FACTOR", 1000.0)

    async def run() -> None:
        pool = FakePool()
        async with Engine([CONFIG], max_queue=8, stall_seconds=0.02, start=pool.start):
            await asyncio.sleep(0.3)
            assert len(pool.processes) == 1

    asyncio.run(run())


def test_one_of_two_workers_is_enough() -> None:
    """The engine is ready with its first worker, and uses the second once that is ready."""

    async def run() -> None:
        pool = FakePool()
        second = asyncio.Event()

        async def start(config: WorkerConfig) -> FakeProcess:
            if pool.processes:
                await second.wait()
            return await pool.start(config)

        async with Engine([CONFIG] * 2, max_queue=8, start=start) as engine:
            assert engine.state == "ready"
            tasks = [submit(engine, text) for text in "ab"]
            await settle()
            assert (engine.running, engine.waiting) == (1, 1)
            second.set()
            await settle()
            assert (engine.running, engine.waiting) == (2, 0)
            for process in pool.processes:
                process.reply(answer(process.inbox[0]))
            await asyncio.gather(*tasks)

    asyncio.run(run())


def test_repeated_deaths_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that had been ready is replaced at once, then after pauses of at most a second."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def record(seconds: float) -> None:
        if seconds != watchdog.CHECK_SECONDS:
            pauses.append(seconds)
        await sleep(0)

    async def test(_engine: Engine, pool: FakePool) -> None:
        monkeypatch.setattr(asyncio, "sleep", record)
        for count in range(2, 10):
            pool.newest.die()
            while len(pool.processes) < count:
                await sleep(0)
            for _ in range(20):
                await sleep(0)

    with_engine(test)
    restarts = [pause for pause in pauses if pause]
    assert pauses[0] == 0.0
    assert restarts == sorted(restarts)
    assert restarts[-1] == 1.0


def test_queued_jobs_are_answered_when_no_worker_can_come_in_time() -> None:
    """The caller of a job that must wait for a restart is not kept until its deadline."""

    async def run() -> None:
        pool = FakePool()

        async def start(config: WorkerConfig) -> FakeProcess:
            if pool.processes:
                await asyncio.Event().wait()
            return await pool.start(config)

        async with Engine([CONFIG], max_queue=8, start=start) as engine:
            engine._pool._supervisors[0]._start_seconds = 30.0
            short, long = (submit(engine, text, seconds) for text, seconds in (("a", 9), ("b", 99)))
            await settle()
            pool.newest.die()
            with pytest.raises(DeadlineExceeded, match="no time"):
                await short
            assert engine.waiting == 1
            with pytest.raises(EngineNotReady) as raised:
                await submit(engine, "c")
            assert 20 < raised.value.retry_after <= 30
            long.cancel()

    asyncio.run(run())


@pytest.mark.parametrize("is_broken", [True, False])
def test_a_worker_whose_jobs_all_fail_is_probed(*, is_broken: bool) -> None:
    """A worker that fails at a harmless input too is replaced; bad inputs do not end a worker."""

    async def test(engine: Engine, pool: FakePool) -> None:
        worker = pool.newest
        for number in range(examiner.MAX_FAILURES):
            task = submit(engine, f"bad {number}")
            await settle()
            worker.reply(Failed(worker.inbox[-1].job, "the model's numbers overflow"))
            with pytest.raises(JobFailed):
                await task
        await settle()
        probe = worker.inbox[-1]
        assert probe == examiner.PROBE
        worker.reply(Failed(probe.job, "overflow") if is_broken else answer(probe))
        await settle()
        assert (pool.newest is worker) != is_broken
        task = submit(engine, "good")
        await settle()
        pool.newest.reply(answer(pool.newest.inbox[-1]))
        assert (await task).generated.best.text == "GOOD"

    with_engine(test)
