"""Streams of a reformulator, against fake worker processes."""

from __future__ import annotations

import asyncio

import pytest

from support.fakes import FakePool, FakeProcess, answer, settle, with_engine
from support.reformulating import PROFILE, reply_to_all, start_reformulation
from t5engine.messages import Cancelled, Generate, Progress, Refused
from t5engine.pool.engine import Engine
from t5serve.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    InvalidRequest,
    NoUsableOutput,
    ServerFault,
)
from t5serve.reformulation.options import Options
from t5serve.reformulation.reformulator import Reformulator
from t5serve.reformulation.results import Event, Finished, QueryResult, TextDelta


class Listener:
    """Collects the events of a stream."""

    def __init__(self, engine: Engine, *queries: str, options: Options | None = None) -> None:
        self.events: list[Event] = []
        self.task = asyncio.create_task(self._listen(engine, queries, options or Options()))

    async def _listen(self, engine: Engine, queries: tuple[str, ...], options: Options) -> None:
        async for event in Reformulator(engine, PROFILE).stream(queries, options):
            self.events.append(event)

    @property
    def pieces(self) -> list[TextDelta]:
        return [event for event in self.events if isinstance(event, TextDelta)]

    @property
    def results(self) -> dict[int, QueryResult]:
        """The results, by the index of the query."""
        finished = [event for event in self.events if isinstance(event, Finished)]
        return {event.query_index: event.result for event in finished}

    def text(self, query: int = 0, rank: int = 1) -> str:
        """Returns the concatenated text of one reformulation."""
        return "".join(
            piece.text for piece in self.pieces if (piece.query_index, piece.rank) == (query, rank)
        )


async def report_progress(process: FakeProcess, position: int, *texts: str) -> None:
    """Plays a worker that reports progress of a job."""
    for text in texts:
        process.reply(Progress(process.inbox[position].job, 0, text))
    await settle()


def test_one_candidate_is_told_while_it_is_decoded() -> None:
    """Text is emitted at once and cleaned; the pieces add up to the final text."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine, "query")
        await settle()
        (message,) = pool.newest.inbox
        assert isinstance(message, Generate)
        assert message.stream
        for part, emitted in (
            ("  how", "how"),
            (" ", "how"),
            ("to ", "how to"),
            ("\n\tcoo", "how to coo"),
            ("k rice", "how to cook rice"),
            ("  ", "how to cook rice"),
        ):
            await report_progress(pool.newest, 0, part)
            assert listener.text() == emitted
        assert not listener.results
        pool.newest.reply(answer(message, "  how to \n\tcook rice  "))
        await listener.task
        (reformulation,) = listener.results[0].reformulations
        assert reformulation.text == listener.text() == "how to cook rice"
        assert isinstance(listener.events[-1], Finished)

    with_engine(test)


def test_a_stream_s_results_are_those_of_a_request() -> None:
    """The results of a stream equal the results of a request."""

    async def test(engine: Engine, pool: FakePool) -> None:
        options = Options(n=2, strategy="sample", include_original=True)
        plain = start_reformulation(engine, "a", "b", options=options)
        await reply_to_all(pool, "one", "two")
        listener = Listener(engine, "a", "b", options=options)
        for position in (2, 3):
            await settle()
            pool.newest.reply(answer(pool.newest.inbox[position], "one", "two"))
        await listener.task
        for result, expected in zip(
            (listener.results[0], listener.results[1]), await plain, strict=True
        ):
            assert result.original == expected.original
            assert result.reformulations == expected.reformulations
            assert result.completion_tokens == expected.completion_tokens

    with_engine(test)


@pytest.mark.parametrize(
    "options",
    [
        Options(n=2, strategy="sample"),
        Options(n=2),
        Options(strategy="beam"),
        Options(strategy="greedy", min_difference=0.1),
        Options(strategy="greedy", preserve=frozenset({"numbers"})),
        Options(strategy="greedy", include_original=True),
    ],
)
def test_what_may_be_dropped_is_told_once_it_is_chosen(options: Options) -> None:
    """With several candidates or constraints, text is emitted after the selection."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine, "query", options=options)
        await settle()
        (message,) = pool.newest.inbox
        assert isinstance(message, Generate)
        assert not message.stream
        await report_progress(pool.newest, 0, "too", " early")
        assert not listener.events
        pool.newest.reply(answer(message, "", "one", "ONE", "two"))
        await listener.task
        emitted = [(piece.rank, piece.text) for piece in listener.pieces]
        assert emitted == [
            (reformulation.rank, reformulation.text)
            for reformulation in listener.results[0].reformulations
        ]
        expected = ["query"] * options.include_original + ["one", "two"][: options.n]
        assert [text for _, text in emitted] == expected

    with_engine(test)


def test_queries_are_told_side_by_side() -> None:
    """Pieces and results carry the index of their query, and come in any order."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine, "a", "b")
        await settle()
        await report_progress(pool.newest, 1, "B1")
        await report_progress(pool.newest, 0, "A1")
        await report_progress(pool.newest, 1, " B2")
        assert listener.events == [
            TextDelta(1, 1, "B1"),
            TextDelta(0, 1, "A1"),
            TextDelta(1, 1, " B2"),
        ]
        pool.newest.reply(answer(pool.newest.inbox[1], "B1 B2"))
        await settle()
        assert list(listener.results) == [1]
        pool.newest.reply(answer(pool.newest.inbox[0], "A1"))
        await listener.task
        assert list(listener.results) == [1, 0]

    with_engine(test, capacity=2)


def test_a_stream_that_ends_in_nothing_says_so() -> None:
    """A stream that ends in a loop falls back, or fails if strict."""

    async def test(engine: Engine, pool: FakePool) -> None:
        for options in (Options(), Options(strict=True)):
            listener = Listener(engine, "query", options=options)
            await settle()
            position = len(pool.newest.inbox) - 1
            await report_progress(pool.newest, position, "no", " no", " no")
            pool.newest.reply(answer(pool.newest.inbox[position], "no no no"))
            if options.strict:
                with pytest.raises(NoUsableOutput):
                    await listener.task
                continue
            await listener.task
            assert listener.results[0].fallback_reason == "no_usable_output"
            assert [r.text for r in listener.results[0].reformulations] == ["query"]

    with_engine(test)


def test_a_stream_s_deadline() -> None:
    """After some text, a passed deadline is a fallback, or an error if strict."""

    async def test(engine: Engine, pool: FakePool) -> None:
        for options in (Options(timeout_ms=50), Options(timeout_ms=50, strict=True)):
            listener = Listener(engine, "query", options=options)
            await settle()
            job = pool.newest.inbox[-1].job
            pool.newest.reply(Progress(job, 0, "begun"))
            if options.strict:
                with pytest.raises(DeadlineExceeded):
                    await listener.task
            else:
                await listener.task
                assert listener.results[0].fallback_reason == "deadline_exceeded"
            assert listener.text() == "begun"
            assert pool.newest.cancelled[-1] == job
            pool.newest.reply(Cancelled(job))

    with_engine(test)


def test_a_stream_of_what_can_not_be() -> None:
    """An invalid request fails before any event; an invalid query is named."""

    async def test(engine: Engine, pool: FakePool) -> None:
        for options in (Options(task="sing"), Options(n=2, strategy="greedy")):
            with pytest.raises(InvalidRequest):
                await Listener(engine, "query", options=options).task
        assert not pool.newest.inbox
        listener = Listener(engine, "short", "long")
        await settle()
        await report_progress(pool.newest, 0, "SHO")
        pool.newest.reply(Refused(pool.newest.inbox[1].job, "too many", too_long=True))
        with pytest.raises(ContextLengthExceeded) as raised:
            await listener.task
        assert raised.value.param == "queries[1]"
        assert listener.events == [TextDelta(0, 1, "SHO")]
        assert pool.newest.cancelled == [pool.newest.inbox[0].job]

    with_engine(test, capacity=2)


def test_a_worker_that_dies_before_it_told_anything_is_not_noticed() -> None:
    """A job without progress is retried by the next worker."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine, "query")
        await settle()
        pool.newest.die()
        await settle()
        await report_progress(pool.newest, 0, "QUE", "RY")
        pool.newest.reply(answer(pool.newest.inbox[0]))
        await listener.task
        assert listener.text() == "QUERY"
        assert listener.results[0].fallback_reason is None

    with_engine(test)


@pytest.mark.parametrize("strict", [False, True])
def test_a_worker_that_dies_mid_stream(strict: bool) -> None:  # noqa: FBT001
    """A job with progress is not retried: it falls back, or fails if strict."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine, "query", options=Options(strict=strict))
        await settle()
        await report_progress(pool.newest, 0, "beg")
        pool.newest.die()
        if strict:
            with pytest.raises(ServerFault):
                await listener.task
        else:
            await listener.task
            result = listener.results[0]
            assert result.fallback_reason == "server_error"
            assert [r.text for r in result.reformulations] == ["query"]
        assert listener.text() == "beg"
        await settle()
        assert len(pool.processes) == 2
        assert not pool.newest.inbox

    with_engine(test)


def test_only_streamed_jobs_are_lost_with_a_worker() -> None:
    """Of two queries, the one with progress falls back and the other is decoded again."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine, "told", "untold")
        await settle()
        await report_progress(pool.newest, 0, "TO")
        pool.newest.die()
        await settle()
        (message,) = pool.newest.inbox
        pool.newest.reply(answer(message))
        await listener.task
        assert listener.results[0].fallback_reason == "server_error"
        assert [r.text for r in listener.results[1].reformulations] == ["untold"]

    with_engine(test, capacity=2)


@pytest.mark.parametrize("leave", ["closes", "is cancelled"])
def test_leaving_a_stream_cancels_its_jobs(leave: str) -> None:
    """Closing or cancelling a stream cancels its jobs; waiting jobs never reach the worker."""

    async def test(engine: Engine, pool: FakePool) -> None:
        if leave == "closes":
            events = Reformulator(engine, PROFILE).stream(["a", "b", "c"], Options())
            first = asyncio.ensure_future(anext(events))
            await settle()
            await report_progress(pool.newest, 0, "A")
            assert await first == TextDelta(0, 1, "A")
            await events.aclose()  # type: ignore[attr-defined]  # an async generator has it
        else:
            listener = Listener(engine, "a", "b", "c")
            await settle()
            await report_progress(pool.newest, 0, "A")
            listener.task.cancel()
        await settle()
        running = [message.job for message in pool.newest.inbox]
        assert len(running) == 2
        assert sorted(pool.newest.cancelled) == running
        for job in running:
            pool.newest.reply(Cancelled(job))
        await settle()
        assert len(pool.newest.inbox) == 2

    with_engine(test, capacity=2)
