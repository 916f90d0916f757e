"""Lists of queries in results and streams, against fake worker processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from support.fakes import FakePool, settle, with_engine
from t5engine.messages import Cancelled, Generate, Generated, Output, Progress, Timings, Token
from t5engine.pool.engine import Engine
from t5gguf.recipe import Generation
from t5gguf.tasks import Task
from t5serve.reformulation.options import Options
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Reformulator
from t5serve.reformulation.results import Event, Finished, TextDelta

TASK = Task(separator=" ; ", n=3)
QUERY = "who is taller, ann or bob"


def reply(job: int, *texts: str) -> Generated:
    """Returns what a worker would send; the tokens are the words."""
    outputs = []
    for rank, text in enumerate(texts):
        parts = text.replace(" ", "\0 ").split("\0")
        details = [Token(token, part, -0.5, []) for token, part in enumerate(parts, 3)]
        tokens = [detail.id for detail in details]
        outputs.append(Output(text, tokens, -1.0 - rank, len(parts) + 1, -1.0, "stop", details))
    return Generated(job, outputs, 5, Timings(0.1, 1.0, 2.0), 1)


class Listener:
    """Collects the events of a stream of one query."""

    def __init__(self, engine: Engine, **options: object) -> None:
        self.events: list[Event] = []
        self._options = Options.for_task(TASK, **options)
        self._reformulator = Reformulator(engine, Profile({"search": TASK}, Generation()))
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self._reformulator.stream([QUERY], self._options):
            self.events.append(event)

    @property
    def sent(self) -> list[tuple[int, str]]:
        return [(one.rank, one.text) for one in self.events if isinstance(one, TextDelta)]

    @property
    def answer(self) -> list[tuple[int, str, int]]:
        (finished,) = (one for one in self.events if isinstance(one, Finished))
        return [(one.rank, one.text, one.tokens) for one in finished.result.reformulations]


def test_a_query_is_emitted_when_the_mark_after_it_is_decoded() -> None:
    """Not before, since it may be cut; the last one comes with the result."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine)
        await settle()
        (job,) = pool.newest.inbox
        assert isinstance(job, Generate)
        assert job.stream
        for part, count in (
            *(("ann", 0), (" height", 0), (" ;", 1), (" bob", 1), (" height ; ANN", 2)),
            *((" height; ", 2), ("ann age ;", 3), (" one more ;", 3)),
        ):
            pool.newest.reply(Progress(job.job, 0, part))
            await settle()
            assert len(listener.sent) == count
        text = "ann height ; bob height ; ANN height; ann age ; one more ;"
        pool.newest.reply(reply(job.job, text))
        await listener.task
        expected = [(1, "ann height", 2), (2, "bob height", 2), (3, "ann age", 2)]
        assert listener.answer == expected
        assert listener.sent == [one[:2] for one in expected]

    with_engine(test)


@pytest.mark.parametrize("options", [{"n": 2}, {"terms": ("ann",)}, {"include_original": True}])
def test_what_may_be_replaced_is_emitted_after_the_selection(options: dict[str, object]) -> None:
    """With several sequences or guards nothing is live."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine, **options, strategy="beam")
        await settle()
        (job,) = pool.newest.inbox
        assert isinstance(job, Generate)
        assert not job.stream
        pool.newest.reply(reply(job.job, "bob height ;; ann height", "ann age"))
        await listener.task
        queries = ["bob height", "ann height"]
        if options == {"include_original": True}:
            queries.insert(0, QUERY)
        assert listener.sent == [*enumerate(queries, 1)]
        assert [one[:2] for one in listener.answer] == listener.sent

    with_engine(test)


def test_nothing_is_live_if_the_query_may_be_too_long_to_rewrite() -> None:
    """The worker counts the tokens; the result is the query, and no other text was sent."""

    async def test(engine: Engine, pool: FakePool) -> None:
        task = Task(separator=" ; ", n=3, max_query_tokens=4)
        reformulator = Reformulator(engine, Profile({"search": task}, Generation()))
        stream = reformulator.stream([QUERY], Options.for_task(task))
        events = asyncio.create_task(collect(stream))
        await settle()
        (job,) = pool.newest.inbox
        assert isinstance(job, Generate)
        assert not job.stream
        pool.newest.reply(reply(job.job, "ann height ; bob height"))
        text, finished = await events
        assert text == TextDelta(0, 1, QUERY)
        assert isinstance(finished, Finished)
        assert finished.result.unchanged_reason == "too_long_to_rewrite"

    async def collect(events: AsyncIterator[Event]) -> list[Event]:
        return [event async for event in events]

    with_engine(test)


def test_a_deadline_in_the_middle_of_a_list_falls_back() -> None:
    """To the query itself, as everywhere, whatever was sent."""

    async def test(engine: Engine, pool: FakePool) -> None:
        listener = Listener(engine, timeout_ms=50)
        await settle()
        job = pool.newest.inbox[0].job
        pool.newest.reply(Progress(job, 0, "ann height ; bob"))
        await listener.task
        assert listener.sent == [(1, "ann height")]
        assert listener.answer == [(1, QUERY, 0)]
        pool.newest.reply(Cancelled(job))

    with_engine(test)
