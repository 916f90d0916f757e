"""Deadlines and the known costs of jobs, against fake worker processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from support.fakes import FakePool, answer, settle, submit, with_engine
from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import DeadlineExceeded, QueueFull
from t5engine.messages import Costs, Pulse
from t5engine.pool import forecast
from t5engine.pool.engine import Engine
from t5engine.pool.turns import current_turn

SLOW = Costs(encodes=[(8, 0.5)], steps=[(1, 0.5), (16, 1.0)])  # 0.5 s, then 3 steps
SLOWER = Costs(encodes=[(8, 100.0)], steps=[(1, 100.0), (16, 200.0)])
Test = Callable[[Engine, FakePool], Awaitable[None]]


def with_known_costs(test: Test, capacity: int = 1) -> None:
    """Runs a test with an engine whose worker has measured `SLOW`, and finished a first job."""

    async def warmed(engine: Engine, pool: FakePool) -> None:
        task = submit(engine, "first", seconds=60)
        await settle()
        pool.newest.reply(answer(pool.newest.inbox.pop()))
        await task
        engine._pool.dispatcher.forecast.costs.correction = 1.0
        await test(engine, pool)

    with_engine(warmed, capacity=capacity, costs=SLOW)


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates are never taken for old."""
    monkeypatch.setattr(forecast, "PROBE_SECONDS", 1e9)


def test_a_job_that_can_not_end_in_time_is_refused_at_once() -> None:
    """An idle worker does not begin what it can't finish."""

    async def test(engine: Engine, pool: FakePool) -> None:
        with pytest.raises(DeadlineExceeded, match="shorter than the model needs"):
            await submit(engine, "short", seconds=0.4)
        assert not pool.newest.inbox
        task = submit(engine, "long", seconds=60)
        await settle()
        pool.newest.reply(answer(pool.newest.inbox[0]))
        await task

    with_known_costs(test)


def test_a_queue_that_takes_too_long_is_full() -> None:
    """A job whose turn would come too late is refused now; one with more time waits."""

    async def test(engine: Engine, pool: FakePool) -> None:
        running, waiting = (submit(engine, text, seconds=60) for text in "ab")
        await settle()
        with pytest.raises(QueueFull, match="take longer than this deadline"):
            await submit(engine, "c", seconds=3)
        for _ in range(2):
            pool.newest.reply(answer(pool.newest.inbox.pop()))
            await settle()
        assert (await running).generated.best.text == "A"
        assert (await waiting).generated.best.text == "B"

    with_known_costs(test)


def test_a_job_does_not_make_others_late() -> None:
    """A job joins a batch only if the jobs in it still end in time."""

    async def test(engine: Engine, pool: FakePool) -> None:
        tight = submit(engine, "tight", seconds=2.3)  # needs 2.0 s alone, 2.6 s beside another
        patient = submit(engine, "patient", seconds=60)
        await settle()
        assert [getattr(message, "text", "") for message in pool.newest.inbox] == ["tight"]
        pool.newest.reply(answer(pool.newest.inbox.pop()))
        await settle()
        assert [getattr(message, "text", "") for message in pool.newest.inbox] == ["patient"]
        pool.newest.reply(answer(pool.newest.inbox.pop()))
        await asyncio.gather(tight, patient)

    with_known_costs(test, capacity=4)


def test_what_waited_too_long_is_not_begun() -> None:
    """A queued job that can't end in time any more never reaches the worker."""

    async def test(engine: Engine, pool: FakePool) -> None:
        running, *waiting = (submit(engine, text, seconds=60) for text in "abc")
        await settle()
        pool.newest.reply(Pulse(SLOWER))
        pool.newest.reply(answer(pool.newest.inbox.pop()))
        await running
        with pytest.raises(DeadlineExceeded, match="left no time"):
            await waiting[0]
        pool.newest.reply(answer(pool.newest.inbox.pop()))
        assert (await waiting[1]).generated.best.text == "C"  # nothing else waits: it is tried

    with_known_costs(test)


def test_old_estimates_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates that refuse everything can't last: without results they are not trusted."""
    monkeypatch.setattr(forecast, "PROBE_SECONDS", -1.0)

    async def test(engine: Engine, pool: FakePool) -> None:
        task = submit(engine, "short", seconds=0.4)
        await settle()
        pool.newest.reply(answer(pool.newest.inbox.pop()))
        assert (await task).generated.best.text == "SHORT"

    with_known_costs(test)


def test_clients_take_turns() -> None:
    """A lone query waits for one job of a client with many, not for all of them."""

    async def test(engine: Engine, pool: FakePool) -> None:
        current_turn.set(("busy", 1))
        many = [submit(engine, text, seconds=600) for text in "abcd"]
        current_turn.set(("other", 2))
        lone = submit(engine, "lone", seconds=600)
        await settle()
        order = []
        while pool.newest.inbox:
            message = pool.newest.inbox.pop()
            order.append(getattr(message, "text", ""))
            pool.newest.reply(answer(message))
            await settle()
        assert order.index("lone") <= 2
        await asyncio.gather(lone, *many)

    with_engine(test)


def test_a_refusal_is_foretold() -> None:
    """What would be refused is known before; a job that is expected takes its place already."""
    config = GenerationConfig(max_tokens=8)

    async def test(engine: Engine, pool: FakePool) -> None:
        assert isinstance(engine.refusal_of(config, "short", 0.4, "a"), DeadlineExceeded)
        assert engine.refusal_of(config, "fits", 2.5, "a") is None
        assert isinstance(engine.refusal_of(config, "waits", 2.5, "a"), QueueFull)
        assert engine.refusal_of(config, "has time", 60, "a") is None
        task = submit(engine, "fits", seconds=2.5)
        await settle()
        pool.newest.reply(answer(pool.newest.inbox.pop()))
        await task

    with_known_costs(test)


def test_a_lone_client_is_not_refused_for_the_jobs_of_another() -> None:
    """The estimate goes by turns: a client with many jobs waits for its own, others do not."""

    async def test(engine: Engine, pool: FakePool) -> None:
        current_turn.set(("busy", 1))
        many = [submit(engine, text, seconds=600) for text in "abcdef"]
        await settle()
        with pytest.raises(QueueFull):
            await submit(engine, "g", seconds=9)
        current_turn.set(("other", 2))
        lone = submit(engine, "lone", seconds=9)
        await settle()
        while pool.newest.inbox:
            pool.newest.reply(answer(pool.newest.inbox.pop()))
            await settle()
        await asyncio.gather(lone, *many)

    with_known_costs(test)


def test_expected_jobs_fill_free_places_first() -> None:
    """Of three foretold jobs one starts, one is queued and one has no room."""
    config = GenerationConfig(max_tokens=8)

    async def test(engine: Engine, pool: FakePool) -> None:
        del pool
        foretold = [engine.refusal_of(config, text, 60, "a") for text in "abc"]
        assert foretold[:2] == [None, None]
        assert isinstance(foretold[2], QueueFull)

    with_engine(test, max_queue=1)


class Clock:
    """Tells the time that a test has set, in seconds."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the engine."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


async def load(engine: Engine, pool: FakePool, clock: Clock) -> None:
    """Runs a burst of jobs, each of which takes far longer than forecast."""
    pool.newest.reply(Pulse(SLOWER))
    for _ in range(20):
        tasks = [submit(engine, 16 * text, seconds=6000) for text in "abcd"]
        await settle()
        clock.now += 500
        while pool.newest.inbox:
            pool.newest.reply(answer(pool.newest.inbox.pop()))
            await settle()
        await asyncio.gather(*tasks)


def test_an_idle_worker_takes_what_it_can_do_in_time(clock: Clock) -> None:
    """What a burst of load taught refuses no job from the moment at which the load is gone."""

    async def test(engine: Engine, pool: FakePool) -> None:
        await load(engine, pool, clock)
        assert engine.refusal_of(GenerationConfig(max_tokens=8), "foretold", 2.5, "a") is None
        task = submit(engine, "lone", seconds=2.5)  # needs 2.0 s
        await settle()
        pool.newest.reply(answer(pool.newest.inbox.pop()))
        assert (await task).generated.best.text == "LONE"
        with pytest.raises(DeadlineExceeded, match="shorter than the model needs"):
            await submit(engine, "hopeless", seconds=0.4)

    with_known_costs(test, capacity=4)


def test_load_is_forgotten(clock: Clock) -> None:
    """Jobs that arrive together are judged without the load of a second ago."""

    async def test(engine: Engine, pool: FakePool) -> None:
        await load(engine, pool, clock)
        pool.newest.reply(Pulse(SLOW))
        await settle()
        clock.now += 1
        tasks = [submit(engine, text, seconds=6) for text in "ab"]  # need 2.7 s together
        await settle()
        assert len(pool.newest.inbox) == 2
        while pool.newest.inbox:
            pool.newest.reply(answer(pool.newest.inbox.pop()))
        await asyncio.gather(*tasks)

    with_known_costs(test, capacity=4)
