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
from t5serve.reformulation.reformulator import (
    Event,
    Finished,
    QueryResult,
    Reformulator,
    TextDelta,
)


class Listener:
    """Whoever reads a stream: what came so far, and how it ended."""

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
        """By the place of the query."""
        finished = [event for event in self.events if isinstance(event, Finished)]
        return {event.query_index: event.result for event in finished}

    def text(self, query: int = 0, rank: int = 1) -> str:
        """All pieces of one reformulation together."""
        return "".join(
            piece.text for piece in self.pieces if (piece.query_index, piece.rank) == (query, rank)
        )


async def tell(process: FakeProcess, place: int, *texts: str) -> None:
    """Plays a worker that has decoded some more of a job, several times."""
    for text in texts:
        process.reply(Progress(process.inbox[place].job, 0, text))
    await settle()


def test_one_candidate_is_told_while_it_is_decoded() -> None:
    """Pieces come at once, cleaned, and together are the text in the end."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine, "query")
        await settle()
        (message,) = pool.newest.inbox
        assert isinstance(message, Generate)
        assert message.stream
        for part, told in (
            ("  how", "how"),
            (" ", "how"),
            ("to ", "how to"),
            ("\n\tcoo", "how to coo"),
            ("k rice", "how to cook rice"),
            ("  ", "how to cook rice"),
        ):
            await tell(pool.newest, 0, part)
            assert listener.text() == told
        assert not listener.results
        pool.newest.reply(answer(message, "  how to \n\tcook rice  "))
        await listener.task
        (one,) = listener.results[0].reformulations
        assert one.text == listener.text() == "how to cook rice"
        assert isinstance(listener.events[-1], Finished)

    with_engine(test)


def test_a_stream_s_results_are_those_of_a_request() -> None:
    """What is streamed differs from what is not in nothing but the pieces."""

    async def test(engine: Engine, pool: FakePool) -> None:
        options = Options(n=2, strategy="sample", include_original=True)
        plain = start_reformulation(engine, "a", "b", options=options)
        await reply_to_all(pool, "one", "two")
        listener = Listener(engine, "a", "b", options=options)
        for place in (2, 3):
            await settle()
            pool.newest.reply(answer(pool.newest.inbox[place], "one", "two"))
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
    """With several candidates, or filters, nothing is told that may not count in the end."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine, "query", options=options)
        await settle()
        (message,) = pool.newest.inbox
        assert isinstance(message, Generate)
        assert not message.stream
        await tell(pool.newest, 0, "too", " early")
        assert not listener.events
        pool.newest.reply(answer(message, "", "one", "ONE", "two"))
        await listener.task
        told = [(piece.rank, piece.text) for piece in listener.pieces]
        assert told == [(one.rank, one.text) for one in listener.results[0].reformulations]
        expected = ["query"] * options.include_original + ["one", "two"][: options.n]
        assert [text for _, text in told] == expected

    with_engine(test)


def test_queries_are_told_side_by_side() -> None:
    """Pieces and results carry their query's place, and come as they come."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine, "a", "b")
        await settle()
        await tell(pool.newest, 1, "B1")
        await tell(pool.newest, 0, "A1")
        await tell(pool.newest, 1, " B2")
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
    """A loop that was told as it was decoded is no reformulation: the result is what counts."""

    async def test(engine: Engine, pool: FakePool) -> None:
        for options in (Options(), Options(strict=True)):
            listener = Listener(engine, "query", options=options)
            await settle()
            place = len(pool.newest.inbox) - 1
            await tell(pool.newest, place, "no", " no", " no")
            pool.newest.reply(answer(pool.newest.inbox[place], "no no no"))
            if options.strict:
                with pytest.raises(NoUsableOutput):
                    await listener.task
                continue
            await listener.task
            assert listener.results[0].fallback_reason == "no_usable_output"
            assert [r.text for r in listener.results[0].reformulations] == ["query"]

    with_engine(test)


def test_a_stream_s_deadline() -> None:
    """It falls back like any request, or fails if strict, after what was told before."""

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
    """A fault of the request comes before any event; one of a query names it."""

    async def test(engine: Engine, pool: FakePool) -> None:
        for options in (Options(task="sing"), Options(n=2, strategy="greedy")):
            with pytest.raises(InvalidRequest):
                await Listener(engine, "query", options=options).task
        assert not pool.newest.inbox
        listener = Listener(engine, "short", "long")
        await settle()
        await tell(pool.newest, 0, "SHO")
        pool.newest.reply(Refused(pool.newest.inbox[1].job, "too many", too_long=True))
        with pytest.raises(ContextLengthExceeded) as raised:
            await listener.task
        assert raised.value.param == "queries[1]"
        assert listener.events == [TextDelta(0, 1, "SHO")]
        assert pool.newest.cancelled == [pool.newest.inbox[0].job]

    with_engine(test, capacity=2)


def test_a_worker_that_dies_before_it_told_anything_is_not_noticed() -> None:
    """A job of which nothing was told is begun again by the next worker."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine, "query")
        await settle()
        pool.newest.die()
        await settle()
        await tell(pool.newest, 0, "QUE", "RY")
        pool.newest.reply(answer(pool.newest.inbox[0]))
        await listener.task
        assert listener.text() == "QUERY"
        assert listener.results[0].fallback_reason is None

    with_engine(test)


@pytest.mark.parametrize("strict", [False, True])
def test_a_worker_that_dies_mid_stream(strict: bool) -> None:  # noqa: FBT001
    """What was told can't be taken back: no retry, but the original, or the error if strict."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine, "query", options=Options(strict=strict))
        await settle()
        await tell(pool.newest, 0, "beg")
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
    """Of two queries the one that was told falls back, the other is decoded again."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine, "told", "untold")
        await settle()
        await tell(pool.newest, 0, "TO")
        pool.newest.die()
        await settle()
        (message,) = pool.newest.inbox
        pool.newest.reply(answer(message))
        await listener.task
        assert listener.results[0].fallback_reason == "server_error"
        assert [r.text for r in listener.results[1].reformulations] == ["UNTOLD"]

    with_engine(test, capacity=2)


@pytest.mark.parametrize("leave", ["closes", "is cancelled"])
def test_leaving_a_stream_cancels_its_jobs(leave: str) -> None:
    """Who stops listening stops the worker; jobs that wait never reach it."""

    async def test(engine: Engine, pool: FakePool) -> None:
        if leave == "closes":
            events = Reformulator(engine, PROFILE).stream(["a", "b", "c"], Options())
            first = asyncio.ensure_future(anext(events))
            await settle()
            await tell(pool.newest, 0, "A")
            assert await first == TextDelta(0, 1, "A")
            await events.aclose()  # type: ignore[attr-defined]  # an async generator has it
        else:
            listener = Listener(engine, "a", "b", "c")
            await settle()
            await tell(pool.newest, 0, "A")
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
