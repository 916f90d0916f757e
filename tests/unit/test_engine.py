"""The engine's queueing, deadlines and progress, against fake worker processes."""

from __future__ import annotations

import asyncio

import pytest

from support.fakes import CONFIG, FakePool, answer, settle, submit, with_engine
from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import (
    DeadlineExceeded,
    EngineNotReady,
    InputTooLong,
    InvalidInput,
    JobError,
    JobFailed,
    ModelLoadError,
    QueueFull,
)
from t5engine.messages import (
    Cancelled,
    Failed,
    Generate,
    Outcome,
    Progress,
    Refused,
    ToWorker,
)
from t5engine.pool.engine import Engine
from t5engine.pool.result import Result

GREEDY = GenerationConfig(max_tokens=8)


def test_outcome_reaches_its_caller() -> None:
    """Outcomes that arrive in another order still reach the callers they belong to."""

    async def test(engine: Engine, pool: FakePool) -> None:
        first, second = submit(engine, "a"), submit(engine, "b")
        await settle()
        for message in reversed(pool.newest.inbox):
            pool.newest.reply(answer(message))
        assert (await first).generated.best.text == "A"
        assert (await second).generated.best.text == "B"

    with_engine(test, capacity=2)


def test_worker_gets_no_more_than_its_capacity() -> None:
    """A worker never holds more jobs than its backend decodes; the next goes when one is done."""

    async def test(engine: Engine, pool: FakePool) -> None:
        tasks = [submit(engine, text) for text in "abc"]
        await settle()
        assert [message.job for message in pool.newest.inbox] == [1, 2]
        pool.newest.reply(answer(pool.newest.inbox[0]))
        await settle()
        assert [message.job for message in pool.newest.inbox] == [1, 2, 3]
        for message in pool.newest.inbox[1:]:
            pool.newest.reply(answer(message))
        assert [(await task).generated.best.text for task in tasks] == ["A", "B", "C"]

    with_engine(test, capacity=2)


def test_jobs_spread_over_workers() -> None:
    """The worker with the fewest jobs gets the next one."""

    async def test(engine: Engine, pool: FakePool) -> None:
        tasks = [submit(engine, text) for text in "abcd"]
        await settle()
        assert [len(process.inbox) for process in pool.processes] == [2, 2]
        for process in pool.processes:
            for message in process.inbox:
                process.reply(answer(message))
        await asyncio.gather(*tasks)

    with_engine(test, capacity=4, workers=2)


def test_full_queue_refuses_at_once() -> None:
    """One job more than may wait is refused now, and the waiting ones still finish."""

    async def test(engine: Engine, pool: FakePool) -> None:
        tasks = [submit(engine, text) for text in "abc"]  # one runs, two wait
        await settle()
        with pytest.raises(QueueFull):
            await submit(engine, "d")
        for index in range(3):
            pool.newest.reply(answer(pool.newest.inbox[index]))
            await settle()
        assert [(await task).generated.best.text for task in tasks] == ["A", "B", "C"]

    with_engine(test, max_queue=2)


def test_deadline_frees_the_slot_once_the_worker_answers() -> None:
    """A cancelled job keeps its slot until the worker answers: nothing piles up behind it."""

    async def test(engine: Engine, pool: FakePool) -> None:
        late, following = submit(engine, "late", seconds=0.01), submit(engine, "next")
        with pytest.raises(DeadlineExceeded):
            await late
        assert pool.newest.cancelled == [1]
        pool.newest.reply(answer(pool.newest.inbox[0]))  # crossed the cancellation on its way
        await settle()
        assert len(pool.newest.inbox) == 1
        pool.newest.reply(Cancelled(1))
        await settle()
        pool.newest.reply(answer(pool.newest.inbox[1]))
        assert (await following).generated.best.text == "NEXT"

    with_engine(test)


def test_callers_that_left_are_not_served() -> None:
    """Queued jobs whose callers have left never reach a worker."""

    async def test(engine: Engine, pool: FakePool) -> None:
        tasks = [submit(engine, text) for text in "abcdef"]
        await settle()
        for task in tasks:
            task.cancel()
        await settle()
        pool.newest.reply(Cancelled(1))
        await settle()
        assert len(pool.newest.inbox) == 1

    with_engine(test)


def test_deadline_in_the_queue() -> None:
    """A job that waits past its deadline never reaches a worker."""

    async def test(engine: Engine, pool: FakePool) -> None:
        running, waiting = submit(engine, "a"), submit(engine, "b", seconds=0.01)
        with pytest.raises(DeadlineExceeded):
            await waiting
        pool.newest.reply(answer(pool.newest.inbox[0]))
        await running
        await settle()
        assert [message.job for message in pool.newest.inbox] == [1]

    with_engine(test)


def test_caller_that_leaves_cancels_its_job() -> None:
    """A cancelled caller's job ends in the worker too."""

    async def test(engine: Engine, pool: FakePool) -> None:
        task = submit(engine, "a")
        await settle()
        task.cancel()
        await settle()
        assert pool.newest.cancelled == [1]

    with_engine(test)


def test_refusal_and_failure_become_errors() -> None:
    """Refused and Failed reach the caller as the right class of error."""

    async def test(engine: Engine, pool: FakePool) -> None:
        outcomes: list[tuple[Outcome, type[JobError]]] = [
            (Refused(1, "600 tokens", too_long=True), InputTooLong),
            (Refused(2, "token id -1"), InvalidInput),
            (Failed(3, "llama_decode returned -2"), JobFailed),
        ]
        for outcome, error in outcomes:
            task = submit(engine, "a")
            await settle()
            pool.newest.reply(outcome)
            with pytest.raises(error) as raised:
                await task
            assert "llama_decode" not in str(raised.value)

    with_engine(test)


def test_unloadable_model_is_a_startup_error() -> None:
    """The worker's reason is the message of the error."""

    async def run() -> None:
        pool = FakePool(unloadable="x.gguf is not a GGUF file")
        engine = Engine([CONFIG], max_queue=1, start=pool.start)
        with pytest.raises(ModelLoadError, match="not a GGUF file"):
            async with engine:
                pytest.fail("nothing is ready")
        assert engine.state == "failed"
        with pytest.raises(EngineNotReady):
            await submit(engine, "a")
        await engine.close()

    asyncio.run(run())


def test_draining_finishes_running_and_queued_jobs() -> None:
    """While the engine drains, new jobs are refused and the others finish."""

    async def test(engine: Engine, pool: FakePool) -> None:
        running, waiting = submit(engine, "a"), submit(engine, "b")
        await settle()
        closing = asyncio.create_task(engine.close(drain_seconds=5))
        await settle()
        with pytest.raises(EngineNotReady):
            await submit(engine, "c")
        for index in range(2):
            pool.processes[0].reply(answer(pool.processes[0].inbox[index]))
            await settle()
        assert (await running).generated.best.text == "A"
        assert (await waiting).generated.best.text == "B"
        await closing
        assert not pool.processes[0].alive

    with_engine(test)


def test_close_fails_unfinished_jobs() -> None:
    """No caller waits for ever on an engine that was closed."""

    async def test(engine: Engine, _pool: FakePool) -> None:
        tasks = [submit(engine, text) for text in "ab"]
        await settle()
        await engine.close()
        for task in tasks:
            with pytest.raises(EngineNotReady):
                await task

    with_engine(test)


def test_progress_reaches_its_caller() -> None:
    """Every caller gets the progress of its job only, in order, before the outcome."""

    async def test(engine: Engine, pool: FakePool) -> None:
        received: dict[str, list[str]] = {"a": [], "b": []}

        async def generate(text: str) -> Result:
            return await engine.generate(
                GREEDY,
                text=text,
                timeout=5,
                on_progress=lambda progress: received[text].append(progress.text),
            )

        tasks = [asyncio.create_task(generate(text)) for text in received]
        unobserved = submit(engine, "c")
        await settle()
        first, second, third = pool.newest.inbox
        streams = [message.stream for message in pool.newest.inbox if isinstance(message, Generate)]
        assert streams == [True, True, False]
        for job, text in ((1, "x"), (2, "y"), (1, "z"), (3, "for nobody"), (99, "of no job")):
            pool.newest.reply(Progress(job, 0, text))
        await settle()
        assert received == {"a": ["x", "z"], "b": ["y"]}
        for message in (first, second, third):
            pool.newest.reply(answer(message))
        assert [(await task).generated.best.text for task in tasks] == ["A", "B"]
        assert (await unobserved).generated.best.text == "C"

    with_engine(test, capacity=3)


def test_nobody_hears_of_a_job_that_is_over() -> None:
    """Progress that arrives after the deadline is dropped."""

    async def test(engine: Engine, pool: FakePool) -> None:
        received: list[Progress] = []
        with pytest.raises(DeadlineExceeded):
            await engine.generate(GREEDY, text="a", timeout=0.01, on_progress=received.append)
        pool.newest.reply(Progress(1, 0, "late"))
        await settle()
        assert not received

    with_engine(test)


def test_a_job_that_can_not_be_sent_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that can't be packed fails its own job only, and frees the slot at once."""

    async def test(engine: Engine, pool: FakePool) -> None:
        worker = pool.newest
        send = worker.send

        def fail_once(_: ToWorker) -> None:
            monkeypatch.setattr(worker, "send", send)
            raise OverflowError("integer too big")

        monkeypatch.setattr(worker, "send", fail_once)
        with pytest.raises(JobFailed, match="can't be passed on"):
            await submit(engine, "bad")
        task = submit(engine, "good")
        await settle()
        worker.reply(answer(worker.inbox[-1]))
        assert (await task).generated.best.text == "GOOD"
        assert (engine.waiting, engine.running) == (0, 0)

    with_engine(test)


def test_a_caller_that_raises_does_not_end_the_engine() -> None:
    """An exception in on_progress costs that worker; the next worker serves jobs."""

    async def test(engine: Engine, pool: FakePool) -> None:
        def burst(_: Progress) -> None:
            raise RuntimeError("a caller's fault")

        task = asyncio.create_task(engine.generate(GREEDY, text="a", timeout=5, on_progress=burst))
        await settle()
        pool.newest.reply(Progress(pool.newest.inbox[0].job, 0, "x"))
        with pytest.raises(JobFailed):
            await task
        await settle()
        assert len(pool.processes) == 2
        again = submit(engine, "b")
        await settle()
        pool.newest.reply(answer(pool.newest.inbox[-1]))
        assert (await again).generated.best.text == "B"

    with_engine(test)


def test_an_input_of_too_many_characters_is_refused() -> None:
    """A long run of unknown characters is one token, but takes long to read. Blanks don't count."""

    async def test(engine: Engine, pool: FakePool) -> None:
        with pytest.raises(InputTooLong, match="characters"):
            await submit(engine, "\u2603" * (8 * CONFIG.max_input_tokens + 1))
        assert not pool.newest.inbox
        task = submit(engine, " " * (8 * CONFIG.max_input_tokens + 1))
        await settle()
        assert len(pool.newest.inbox) == 1
        pool.newest.reply(answer(pool.newest.inbox[0]))
        await task

    with_engine(test)
