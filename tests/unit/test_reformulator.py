"""Fallbacks, strictness and cleaning, against fake worker processes."""

from __future__ import annotations

import asyncio

import pytest

from support.fakes import FakePool, answer, settle, with_engine
from support.reformulating import reply_to_all, start_reformulation
from t5engine.messages import Generate, Refused
from t5engine.pool.engine import Engine
from t5serve.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    InputQuarantined,
    InvalidRequest,
    NoUsableOutput,
    QueueFull,
)
from t5serve.reformulation.options import Options
from t5serve.reformulation.text import clean


def test_several_queries_in_order() -> None:
    """Results have the order of the queries, and scores per token."""

    async def test(engine: Engine, pool: FakePool) -> None:
        task = start_reformulation(engine, "one", "two")
        await reply_to_all(pool)
        first, second = await task
        assert (first.original, second.original) == ("one", "two")
        assert [r.text for r in first.reformulations] == ["one"]  # for the model's "ONE"
        assert first.reformulations[0].score == pytest.approx(-0.5)
        assert second.fallback_reason is None

    with_engine(test)


def test_prefix_of_the_task() -> None:
    """The model reads the prefix of the task before the query; the first task is the default."""

    async def test(engine: Engine, pool: FakePool) -> None:
        for options in (Options(), Options(task="fix")):
            task = start_reformulation(engine, "query", options=options)
            await settle()
            pool.newest.reply(answer(pool.newest.inbox[-1]))
            await task
        sent = [message.text for message in pool.newest.inbox if isinstance(message, Generate)]
        assert sent == ["query", "fix: query"]

    with_engine(test)


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_empty_output_falls_back(text: str) -> None:
    """An empty output falls back to the query, with the reason."""

    async def test(engine: Engine, pool: FakePool) -> None:
        task = start_reformulation(engine, "query")
        await reply_to_all(pool, text)
        (result,) = await task
        assert result.fallback_reason == "no_usable_output"
        (original,) = result.reformulations
        assert (original.text, original.source, original.score) == ("query", "original", None)
        assert result.completion_tokens == 2  # decoded all the same

    with_engine(test)


def test_strict_empty_output_is_an_error() -> None:
    """With `strict`, an empty output is an error."""

    async def test(engine: Engine, pool: FakePool) -> None:
        task = start_reformulation(engine, "query", options=Options(strict=True))
        await reply_to_all(pool, "")
        with pytest.raises(NoUsableOutput):
            await task

    with_engine(test)


def test_deadline_falls_back() -> None:
    """A query that passes its deadline falls back."""

    async def test(engine: Engine, pool: FakePool) -> None:
        del pool
        (result,) = await start_reformulation(engine, "query", options=Options(timeout_ms=10))
        assert result.fallback_reason == "deadline_exceeded"

    with_engine(test)


def test_strict_deadline_is_an_error() -> None:
    """With `strict`, a passed deadline is an error."""

    async def test(engine: Engine, pool: FakePool) -> None:
        del pool
        with pytest.raises(DeadlineExceeded):
            await start_reformulation(engine, "query", options=Options(timeout_ms=10, strict=True))

    with_engine(test)


def test_full_queue_falls_back_for_those_that_found_no_room() -> None:
    """Queries that fit into the queue are reformulated; the others fall back."""

    async def test(engine: Engine, pool: FakePool) -> None:
        task = start_reformulation(engine, "a", "b", "c")
        await reply_to_all(pool)
        results = await task
        assert [r.fallback_reason for r in results] == [None, None, "queue_full"]
        with pytest.raises(QueueFull):
            await start_reformulation(engine, "a", "b", "c", options=Options(strict=True))

    with_engine(test, max_queue=1)


def test_a_quarantined_input_falls_back() -> None:
    """A query whose input ends workers falls back, and is an error with `strict`."""

    async def test(engine: Engine, pool: FakePool) -> None:
        task = start_reformulation(engine, "deadly")
        await settle()
        for _ in range(2):
            pool.newest.die()
            await settle()
            await asyncio.sleep(0.2)  # a worker that was never ready for long starts after a pause
        (result,) = await task
        assert result.fallback_reason == "input_quarantined"
        (again,) = await start_reformulation(engine, "deadly")
        assert again.reformulations[0].text == "deadly"
        with pytest.raises(InputQuarantined):
            await start_reformulation(engine, "deadly", options=Options(strict=True))

    with_engine(test)


def test_not_ready_falls_back() -> None:
    """Queries fall back while no worker is ready."""

    async def test(engine: Engine, pool: FakePool) -> None:
        del pool
        engine.drain()
        (result,) = await start_reformulation(engine, "query")
        assert result.fallback_reason == "not_ready"

    with_engine(test)


def test_too_long_is_an_error_that_names_the_query() -> None:
    """A refused input is an error that names the query, never a fallback."""

    async def test(engine: Engine, pool: FakePool) -> None:
        task = start_reformulation(engine, "short", "long")
        await settle()
        pool.newest.reply(answer(pool.newest.inbox[0]))
        await settle()
        pool.newest.reply(Refused(pool.newest.inbox[1].job, "too many", too_long=True))
        with pytest.raises(ContextLengthExceeded) as raised:
            await task
        assert raised.value.param == "queries[1]"

    with_engine(test)


def test_failed_request_cancels_its_other_queries() -> None:
    """After an error the other queries of the request are not decoded."""

    async def test(engine: Engine, pool: FakePool) -> None:
        task = start_reformulation(engine, "bad", "other")
        await settle()
        pool.newest.reply(Refused(pool.newest.inbox[0].job, "no"))
        with pytest.raises(InvalidRequest):
            await task
        assert pool.newest.cancelled == [pool.newest.inbox[1].job]

    with_engine(test, capacity=2)


def test_clean() -> None:
    """Blanks are collapsed and stripped."""
    assert clean("  what \n is\tthis ") == "what is this"
