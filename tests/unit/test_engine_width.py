"""How the engine fills workers with jobs of several sequences, against fake worker processes."""

from __future__ import annotations

import asyncio

from support.fakes import CONFIG, MODEL, FakePool, FakeProcess, answer, settle, submit, with_engine
from t5engine.config import WorkerConfig
from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Generate, Ready
from t5engine.pool.engine import Engine
from t5engine.pool.result import Result
from t5engine.pool.turns import current_turn


def submit_wide(engine: Engine, text: str, width: int) -> asyncio.Task[Result]:
    config = GenerationConfig(max_tokens=8, num_beams=width, num_return_sequences=width)
    return asyncio.create_task(engine.generate(config, text=text, timeout=5))


def sent_texts(process: FakeProcess) -> list[str | None]:
    """Returns the texts of the jobs that a worker received, in order."""
    return [message.text for message in process.inbox if isinstance(message, Generate)]


def test_wide_jobs_wait_until_they_fit() -> None:
    """A worker never gets more sequences than its maximum, and no job overtakes another."""

    async def test(engine: Engine, pool: FakePool) -> None:
        tasks = [
            submit_wide(engine, text, width)
            for text, width in (("a", 5), ("b", 2), ("c", 4), ("d", 1))
        ]
        await settle()
        assert sent_texts(pool.newest) == ["a", "b"]
        pool.newest.reply(answer(pool.newest.inbox[1]))  # 5 + 4 do not fit into 8 either
        await settle()
        assert sent_texts(pool.newest) == ["a", "b"]
        pool.newest.reply(answer(pool.newest.inbox[0]))
        await settle()
        assert sent_texts(pool.newest) == ["a", "b", "c", "d"]
        for message in pool.newest.inbox[2:]:
            pool.newest.reply(answer(message))
        await asyncio.gather(*tasks)

    with_engine(test, capacity=8)


def test_a_job_wider_than_a_worker_runs_alone() -> None:
    """It runs once the worker has no job, and no other job joins it."""

    async def test(engine: Engine, pool: FakePool) -> None:
        tasks = [
            submit_wide(engine, "narrow", 1),
            submit_wide(engine, "wide", 20),
            submit_wide(engine, "next", 1),
        ]
        for count, names in enumerate((["narrow"], ["narrow", "wide"], ["narrow", "wide", "next"])):
            await settle()
            assert sent_texts(pool.newest) == names
            pool.newest.reply(answer(pool.newest.inbox[count]))
        await asyncio.gather(*tasks)

    with_engine(test, capacity=4)


def test_the_worker_with_the_fewest_sequences_is_chosen() -> None:
    """The worker with fewer sequences gets the next job, whatever its number of jobs."""

    async def test(engine: Engine, pool: FakePool) -> None:
        tasks = [
            submit_wide(engine, text, width)
            for text, width in (("a", 6), ("b", 2), ("c", 3), ("d", 1))
        ]
        await settle()
        assert [sent_texts(process) for process in pool.processes] == [["a"], ["b", "c", "d"]]
        for process in pool.processes:
            for message in process.inbox:
                process.reply(answer(message))
        await asyncio.gather(*tasks)

    with_engine(test, capacity=8, workers=2)


def test_inputs_bound_the_jobs() -> None:
    """A worker with max_inputs jobs gets no other, even below max_sequences."""

    class NarrowPool(FakePool):
        async def start(self, _config: WorkerConfig) -> FakeProcess:
            process = FakeProcess(8)
            process.reply(Ready(MODEL, threads=1, max_sequences=8, max_inputs=2))
            self.processes.append(process)
            return process

    async def run() -> None:
        pool = NarrowPool()
        async with Engine([CONFIG], max_queue=8, start=pool.start) as engine:
            tasks = [submit(engine, text) for text in "abc"]
            await settle()
            assert sent_texts(pool.newest) == ["a", "b"]
            for index in range(3):
                pool.newest.reply(answer(pool.newest.inbox[index]))
                await settle()
            assert [(await task).generated.best.text for task in tasks] == ["A", "B", "C"]

    asyncio.run(run())


def test_a_narrow_job_does_not_wait_for_wide_ones() -> None:
    """Rows are kept free for a narrow job of another request, whatever fills the batch."""

    async def run() -> None:
        pool = FakePool()

        async def start(config: WorkerConfig) -> FakeProcess:
            process = await pool.start(config)
            while not process._outbox.empty():
                process._outbox.get_nowait()
            process.reply(Ready(MODEL, threads=1, max_sequences=8, max_inputs=12, rows=12))
            return process

        async with Engine([CONFIG], max_queue=64, start=start) as engine:
            current_turn.set(("busy", 1))
            wide = [submit_wide(engine, text, 8) for text in ("w1", "w2", "w3")]
            narrow = [submit_wide(engine, text, 1) for text in ("n1", "n2")]
            current_turn.set(("other", 2))
            lone = submit_wide(engine, "lone", 2)
            current_turn.set(("third", 3))
            second, too_wide = submit_wide(engine, "s", 2), submit_wide(engine, "t", 3)
            await settle()
            # Its own narrow jobs wait behind its wide ones; what others need fits beside them.
            assert sent_texts(pool.newest) == ["w1", "lone", "s"]
            tasks = [*wide, *narrow, lone, second, too_wide]
            sent = 0
            while not all(task.done() for task in tasks):
                pool.newest.reply(answer(pool.newest.inbox[sent]))
                sent += 1
                await settle()
            assert sorted(filter(None, sent_texts(pool.newest))) == sorted(
                ["w1", "w2", "w3", "n1", "n2", "lone", "s", "t"]
            )

    asyncio.run(run())
