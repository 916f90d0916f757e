"""The engine when workers exit, hang or do not start, against fake worker processes."""

from __future__ import annotations

import asyncio

import pytest

from support.fakes import CONFIG, FakePool, FakeProcess, answer, settle, submit, with_engine
from t5engine.config import WorkerConfig
from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import (
    DeadlineExceeded,
    EngineNotReady,
    InputQuarantined,
    JobFailed,
)
from t5engine.messages import Progress
from t5engine.pool import dispatcher, supervisor
from t5engine.pool.engine import Engine

GREEDY = GenerationConfig(max_tokens=8)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts workers without a delay."""
    monkeypatch.setattr(supervisor, "READY_BACKOFF_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(supervisor, "LOAD_BACKOFF_SECONDS", (0.0, 0.0))


def test_hung_worker_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not answer a cancellation is replaced."""
    monkeypatch.setattr(dispatcher, "STALL_SECONDS", 0.01)

    async def test(engine: Engine, pool: FakePool) -> None:
        with pytest.raises(DeadlineExceeded):
            await submit(engine, "a", seconds=0.01)
        await asyncio.sleep(0.05)
        assert len(pool.processes) == 2
        task = submit(engine, "b")
        await settle()
        pool.newest.reply(answer(pool.newest.inbox[0]))
        assert (await task).generated.best.text == "B"

    with_engine(test)


def test_a_death_is_blamed_on_the_job_that_the_worker_had() -> None:
    """A poisonous input whose caller has left is blamed, and no other input is."""

    async def test(engine: Engine, pool: FakePool) -> None:
        for _ in range(2):
            with pytest.raises(DeadlineExceeded):
                await submit(engine, "poison", seconds=0.01)
            innocent = submit(engine, "innocent")
            await settle()
            pool.newest.die()
            await settle()
            pool.newest.reply(answer(pool.newest.inbox[0]))
            assert (await innocent).generated.best.text == "INNOCENT"
        with pytest.raises(InputQuarantined):
            await submit(engine, "poison")

    with_engine(test)


def test_a_worker_that_can_not_be_started_is_tried_again() -> None:
    """An error of the operating system at a restart does not end the supervision."""

    async def run() -> None:
        pool = FakePool()
        failures = 0

        async def start(config: WorkerConfig) -> FakeProcess:
            nonlocal failures
            if pool.processes and failures < 3:
                failures += 1
                raise OSError(24, "Too many open files")
            return await pool.start(config)

        async with Engine([CONFIG], max_queue=1, start=start) as engine:
            pool.newest.die()
            while len(pool.processes) < 2:  # noqa: ASYNC110 - there is no event for a start
                await asyncio.sleep(0)
            await settle()
            assert engine.state == "ready"

    asyncio.run(run())


def test_death_retries_the_job() -> None:
    """A job whose worker exited is decoded by the next worker, and its caller sees no error."""

    async def test(engine: Engine, pool: FakePool) -> None:
        task = submit(engine, "a")
        await settle()
        pool.newest.die()
        await settle()
        assert len(pool.processes) == 2
        assert engine.restarts == 1
        pool.newest.reply(answer(pool.newest.inbox[0]))
        assert (await task).generated.best.text == "A"

    with_engine(test)


def test_two_deaths_alone_quarantine_the_input() -> None:
    """An input that ended two workers is refused, now and when it is submitted again."""

    async def test(engine: Engine, pool: FakePool) -> None:
        task = submit(engine, "poison")
        for _ in range(2):
            await settle()
            pool.newest.die()
        with pytest.raises(InputQuarantined):
            await task
        await settle()
        assert engine.state == "ready"
        with pytest.raises(InputQuarantined):
            await submit(engine, "poison")
        harmless = submit(engine, "harmless")
        await settle()
        pool.newest.reply(answer(pool.newest.inbox[0]))
        assert (await harmless).generated.best.text == "HARMLESS"

    with_engine(test)


def test_batch_mates_of_a_poisonous_input_are_not_blamed() -> None:
    """After a death in a batch each job is retried alone: only the guilty one is quarantined."""

    async def test(engine: Engine, pool: FakePool) -> None:
        tasks = {text: submit(engine, text) for text in ("good", "poison", "fine")}
        await settle()
        pool.newest.die()
        await settle()
        while not all(task.done() for task in tasks.values()):
            (message,) = pool.newest.inbox[-1:]
            assert len(pool.newest.inbox) == 1 or message is not pool.newest.inbox[-2]
            generated = answer(message)
            if generated.best.text == "POISON":
                pool.newest.die()
            else:
                pool.newest.reply(generated)
            await settle()
        assert (await tasks["good"]).generated.best.text == "GOOD"
        assert (await tasks["fine"]).generated.best.text == "FINE"
        with pytest.raises(JobFailed):
            await tasks["poison"]  # died in company once and alone once: not yet quarantined
        again = submit(engine, "poison")
        await settle()
        pool.newest.die()
        with pytest.raises(InputQuarantined):
            await again

    with_engine(test, capacity=4)


def test_retried_job_runs_alone() -> None:
    """No job joins a worker that retries one, even below max_sequences."""

    async def test(engine: Engine, pool: FakePool) -> None:
        first, second = submit(engine, "a"), submit(engine, "b")
        await settle()
        pool.newest.die()
        await settle()
        third = submit(engine, "c")
        await settle()
        assert len(pool.newest.inbox) == 1
        for index in range(3):
            pool.newest.reply(answer(pool.newest.inbox[index]))
            await settle()
        for task, text in ((first, "A"), (second, "B"), (third, "C")):
            assert (await task).generated.best.text == text

    with_engine(test, capacity=4)


def test_success_clears_the_blame() -> None:
    """A death that was not the input's fault does not count for ever."""

    async def test(engine: Engine, pool: FakePool) -> None:
        for _ in range(3):
            task = submit(engine, "popular")
            await settle()
            pool.newest.die()
            await settle()
            pool.newest.reply(answer(pool.newest.inbox[0]))
            assert (await task).generated.best.text == "POPULAR"

    with_engine(test)


def test_not_ready_while_every_worker_is_dead() -> None:
    """With no worker alive new jobs are refused at once, not queued."""

    async def test(engine: Engine, pool: FakePool) -> None:
        pool.newest.die()
        while engine.state == "ready":  # noqa: ASYNC110 - there is no event for a death
            await asyncio.sleep(0)
        assert engine.state == "restarting"
        with pytest.raises(EngineNotReady):
            await submit(engine, "a")
        await settle()
        assert engine.state == "ready"

    with_engine(test)


def test_a_job_with_streamed_text_is_not_retried() -> None:
    """Its caller would get the beginning twice. A streamed job without text yet is retried."""

    async def test(engine: Engine, pool: FakePool) -> None:
        received: list[Progress] = []
        for has_text in (True, False):
            task = asyncio.create_task(
                engine.generate(GREEDY, text=f"{has_text}", timeout=5, on_progress=received.append)
            )
            await settle()
            if has_text:
                pool.newest.reply(Progress(pool.newest.inbox[0].job, 0, "begun"))
                await settle()
            pool.newest.die()
            await settle()
            if has_text:
                with pytest.raises(JobFailed):
                    await task
                assert not pool.newest.inbox
            else:
                pool.newest.reply(answer(pool.newest.inbox[0]))
                assert (await task).generated.best.text == "FALSE"

    with_engine(test)


def test_a_streamed_input_is_quarantined_like_any_other() -> None:
    """An input that ends two workers, each time after some text, is refused."""

    async def test(engine: Engine, pool: FakePool) -> None:
        for error in (JobFailed, InputQuarantined):
            task = asyncio.create_task(
                engine.generate(GREEDY, text="poison", timeout=5, on_progress=lambda _: None)
            )
            await settle()
            pool.newest.reply(Progress(pool.newest.inbox[0].job, 0, "begun"))
            pool.newest.die()
            with pytest.raises(error):
                await task
            await settle()
        with pytest.raises(InputQuarantined):
            await submit(engine, "poison")

    with_engine(test)
