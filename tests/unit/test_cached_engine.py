"""The engine behind a cache, against fake worker processes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import pytest

from support.fakes import MODEL, FakePool, FakeProcess, answer, settle, with_engine
from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import (
    DeadlineExceeded,
    EngineNotReady,
    InputQuarantined,
    InputTooLong,
    JobFailed,
    QueueFull,
)
from t5engine.messages import Cancelled, Generate, Progress, Refused, Token
from t5engine.pool.engine import Engine
from t5engine.pool.result import Result
from t5engine.pool.turns import current_turn
from t5serve.errors import QueueFull as RequestQueueFull
from t5serve.models.admission import Admission
from t5serve.models.cache import ResultCache
from t5serve.models.cached_engine import CachedEngine, Lookup
from t5serve.reformulation.lexicon import Lexicon
from t5serve.reformulation.options import Options
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Reformulator
from t5serve.reformulation.results import Finished, QueryResult, TextDelta
from t5serve.settings import Settings

GREEDY = GenerationConfig(max_tokens=8)
SEEDED = GenerationConfig(max_tokens=8, do_sample=True, seed=3)
UNSEEDED = GenerationConfig(max_tokens=8, do_sample=True)
COLD = GenerationConfig(max_tokens=8, do_sample=True, temperature=0)


class Callers:
    """Asks a cached engine, and plays its workers."""

    def __init__(self, engine: Engine, pool: FakePool) -> None:
        self.pool = pool
        self.engine = engine
        self.cache = ResultCache(100_000)
        self.cached = CachedEngine(engine, self.cache)
        self.lookups: list[Lookup] = []
        self.cached.on_lookup = self.lookups.append

    def ask(
        self,
        text: str = "a",
        config: GenerationConfig = GREEDY,
        *,
        seconds: float = 5.0,
        client: str = "client",
        told: list[Progress] | None = None,
        stop: Sequence[str] = (),
    ) -> asyncio.Task[Result]:
        """Starts a request of a client."""

        async def generate() -> Result:
            current_turn.set((client, object()))
            on_progress = None if told is None else told.append
            return await self.cached.generate(
                config, text=text, timeout=seconds, on_progress=on_progress, stop=stop
            )

        return asyncio.create_task(generate())

    @property
    def inbox(self) -> list[Generate]:
        """The inputs that the newest worker got so far."""
        return [message for message in self.pool.newest.inbox if isinstance(message, Generate)]

    async def wait_for_worker(self) -> None:
        """Waits until the engine has replaced a worker."""
        while self.engine.state != "ready":  # noqa: ASYNC110 - the engine has no such event
            await asyncio.sleep(0.01)

    async def reply(self, position: int = -1, *texts: str) -> None:
        """Plays the worker that is done with a job."""
        await settle()
        self.pool.newest.reply(answer(self.inbox[position], *texts))
        await settle()


def with_callers(
    test: Callable[[Callers], Awaitable[None]], *, capacity: int = 8, max_queue: int = 8
) -> None:
    """Runs a test's coroutine with a cached engine of one fake process."""

    async def run(engine: Engine, pool: FakePool) -> None:
        await test(Callers(engine, pool))

    with_engine(run, capacity=capacity, max_queue=max_queue)


@pytest.mark.parametrize("config", [GREEDY, SEEDED, COLD])
def test_a_deterministic_result_is_decoded_once(config: GenerationConfig) -> None:
    """The second request gets the outputs and token counts of the first, and no worker's time."""

    async def test(callers: Callers) -> None:
        first = callers.ask(config=config)
        await callers.reply()
        second = await callers.ask(config=config)
        assert len(callers.inbox) == 1
        assert callers.lookups == ["miss", "hit"]
        decoded, reused = (await first), second
        assert (decoded.cached, reused.cached) == (False, True)
        assert reused.generated.outputs == decoded.generated.outputs
        assert reused.generated.prompt_tokens == decoded.generated.prompt_tokens
        assert msgspec.structs.astuple(reused.generated.timings) == (0, 0, 0, 0)
        assert reused.ipc_ms == 0

    with_callers(test)


def test_samples_without_a_seed_are_neither_cached_nor_shared() -> None:
    """Two equal requests at once and a third one later are three generations."""

    async def test(callers: Callers) -> None:
        pair = [callers.ask(config=UNSEEDED) for _ in range(2)]
        await settle()
        assert len(callers.inbox) == 2
        for position in range(2):
            await callers.reply(position, f"text {position}")
        third = callers.ask(config=UNSEEDED)
        await callers.reply(2, "text 2")
        results = [await task for task in [*pair, third]]
        assert [r.generated.best.text for r in results] == ["text 0", "text 1", "text 2"]
        assert not any(result.cached for result in results)
        assert (len(callers.cache), callers.lookups) == (0, [])
        assert not callers.cached.has_result(UNSEEDED, text="a")

    with_callers(test)


def test_equal_requests_at_once_share_one_generation() -> None:
    """Ten requests are one job; nine of them say that nothing was decoded for them."""

    async def test(callers: Callers) -> None:
        tasks = [callers.ask() for _ in range(10)]
        await settle()
        assert callers.cached.has_result(GREEDY, text="a")
        await callers.reply()
        results = await asyncio.gather(*tasks)
        assert len(callers.inbox) == 1
        assert [result.cached for result in results] == [False, *[True] * 9]
        assert {result.generated.best.text for result in results} == {"A"}
        assert callers.lookups == ["miss", *["shared"] * 9]

    with_callers(test)


@pytest.mark.parametrize(
    "other",
    [
        {"text": "b"},
        {"config": GenerationConfig(max_tokens=9)},
        {"stop": ["."]},
    ],
)
def test_requests_that_differ_share_nothing(other: dict[str, str]) -> None:
    """Another text, parameter or stop string is another generation."""

    async def test(callers: Callers) -> None:
        tasks = [callers.ask(), callers.ask(**other)]  # type: ignore[arg-type]
        await settle()
        assert len(callers.inbox) == 2
        for task in tasks:
            task.cancel()
        await settle()

    with_callers(test)


def test_engines_on_one_cache_share_nothing() -> None:
    """A result of one loaded file is never that of another, as after a reload."""

    async def test(callers: Callers) -> None:
        first = callers.ask()
        await callers.reply(-1, "old")
        assert (await first).generated.best.text == "old"
        callers.cached = CachedEngine(callers.engine, callers.cache)
        second = callers.ask()
        await callers.reply(-1, "new")
        assert (await second).generated.best.text == "new"

    with_callers(test)


def test_a_leader_that_leaves_takes_no_follower_along() -> None:
    """The job goes on for those who wait, and its result is kept."""

    async def test(callers: Callers) -> None:
        leader, follower = callers.ask(), callers.ask()
        await settle()
        leader.cancel()
        await settle()
        assert not callers.pool.newest.cancelled
        await callers.reply()
        assert (await follower).generated.best.text == "A"
        assert len(callers.inbox) == 1
        assert (await callers.ask()).cached

    with_callers(test)


def test_a_job_ends_with_the_last_request_that_waits() -> None:
    """Once leader and follower have left, the worker is told; a later request starts anew."""

    async def test(callers: Callers) -> None:
        tasks = [callers.ask(), callers.ask()]
        await settle()
        for task in tasks:
            assert not callers.pool.newest.cancelled
            task.cancel()
            await settle()
        (message,) = callers.inbox
        assert callers.pool.newest.cancelled == [message.job]
        assert not callers.cached.has_result(GREEDY, text="a")
        later = callers.ask()
        callers.pool.newest.reply(Cancelled(message.job))
        await callers.reply()
        assert not (await later).cached

    with_callers(test)


def test_a_follower_has_its_own_shorter_deadline() -> None:
    """A follower gives up at its deadline; the leader is not disturbed."""

    async def test(callers: Callers) -> None:
        leader, follower = callers.ask(), callers.ask(seconds=0.02)
        with pytest.raises(DeadlineExceeded):
            await follower
        assert not callers.pool.newest.cancelled
        await callers.reply()
        assert (await leader).generated.best.text == "A"

    with_callers(test)


def test_a_follower_has_its_own_longer_deadline() -> None:
    """When the leader's deadline ends its job, a follower is decoded with the time that it has."""

    async def test(callers: Callers) -> None:
        leader, *followers = callers.ask(seconds=0.02), callers.ask(), callers.ask()
        with pytest.raises(DeadlineExceeded):
            await leader
        await settle()
        first, second = callers.inbox  # the followers share again
        assert callers.pool.newest.cancelled == [first.job]
        callers.pool.newest.reply(Cancelled(first.job))
        await callers.reply()
        results = [await follower for follower in followers]
        assert sorted(result.cached for result in results) == [False, True]
        assert [result.generated.best.text for result in results] == ["A", "A"]
        assert second.job != first.job

    with_callers(test)


def test_a_refused_leader_refuses_no_follower_with_more_time() -> None:
    """A full queue is each one's own; a follower asks again, once, and is told the same."""

    async def test(callers: Callers) -> None:
        others = [callers.ask(text) for text in "xy"]
        await settle()
        pair = [callers.ask(), callers.ask()]
        await settle()
        for task in pair:
            with pytest.raises(QueueFull):
                await task
        assert callers.lookups == ["miss"] * 4
        for position in range(2):
            await callers.reply(position)
        await asyncio.gather(*others)
        again = callers.ask()
        await callers.reply()
        assert not (await again).cached

    with_callers(test, capacity=1, max_queue=1)


def test_a_refused_input_is_refused_for_all() -> None:
    """An input that is too long is so for the followers; the refusal is not cached."""

    async def test(callers: Callers) -> None:
        tasks = [callers.ask(), callers.ask()]
        await settle()
        (message,) = callers.inbox
        callers.pool.newest.reply(Refused(message.job, "too long", too_long=True))
        for task in tasks:
            with pytest.raises(InputTooLong):
                await task
        assert not callers.cached.has_result(GREEDY, text="a")

    with_callers(test)


def test_a_death_is_not_cached_and_a_quarantine_reaches_all() -> None:
    """After two deaths leader and follower are refused, and so is who comes later."""

    async def test(callers: Callers) -> None:
        tasks = [callers.ask(), callers.ask()]
        for _ in range(2):
            await settle()
            assert len(callers.inbox) == 1
            callers.pool.newest.die()
        for task in tasks:
            with pytest.raises(InputQuarantined):
                await task
        await callers.wait_for_worker()
        with pytest.raises(InputQuarantined):
            await callers.ask()
        assert len(callers.cache) == 0

    with_callers(test)


def test_a_follower_survives_the_death_of_a_streamed_job() -> None:
    """The leader has text already and fails; the follower, who has none, is decoded again."""

    async def test(callers: Callers) -> None:
        told: list[Progress] = []
        leader, follower = callers.ask(told=told), callers.ask()
        await settle()
        callers.pool.newest.reply(Progress(callers.inbox[0].job, 0, "beg"))
        await settle()
        callers.pool.newest.die()
        with pytest.raises(JobFailed):
            await leader
        await callers.wait_for_worker()
        while not callers.inbox:  # noqa: ASYNC110 - a fake has no events
            await asyncio.sleep(0.01)
        await callers.reply()
        assert (await follower).generated.best.text == "A"
        assert [progress.text for progress in told] == ["beg"]

    with_callers(test)


def test_a_leader_streams_live_and_a_hit_tells_all_at_once() -> None:
    """The leader has text before the end; a follower and a hit get each sequence in one piece."""

    async def test(callers: Callers) -> None:
        config = msgspec.structs.replace(SEEDED, num_return_sequences=2)
        live: list[Progress] = []
        shared: list[Progress] = []
        later: list[Progress] = []
        tasks = [callers.ask(config=config, told=live), callers.ask(config=config, told=shared)]
        await settle()
        (message,) = callers.inbox
        callers.pool.newest.reply(Progress(message.job, 0, "on"))
        await settle()
        assert [progress.text for progress in live] == ["on"]
        assert not shared
        callers.pool.newest.reply(Progress(message.job, 0, "e"))
        await callers.reply(-1, "one", "")
        await asyncio.gather(*tasks)
        await callers.ask(config=config, told=later)
        assert "".join(progress.text for progress in live) == "one"
        assert shared == later == [Progress(0, 0, "one")]

    with_callers(test)


def test_details_are_cached_and_told() -> None:
    """The tokens of a sequence come with its text, as they were."""

    async def test(callers: Callers) -> None:
        config = msgspec.structs.replace(GREEDY, top_logprobs=1)
        details = [Token(5, "A", -0.1234567890123, [(5, "A", -0.1234567890123)])]
        task = callers.ask(config=config)
        await settle()
        generated = answer(callers.inbox[0])
        output = msgspec.structs.replace(generated.best, details=details)
        callers.pool.newest.reply(msgspec.structs.replace(generated, outputs=[output]))
        decoded = await task
        told: list[Progress] = []
        reused = await callers.ask(config=config, told=told)
        assert reused.generated.outputs == decoded.generated.outputs
        assert told == [Progress(0, 0, "A", details)]

    with_callers(test)


def test_a_client_does_not_wait_for_the_turn_of_another() -> None:
    """While a job waits in the queue, only its own client waits for it."""

    async def test(callers: Callers) -> None:
        busy = callers.ask("x")
        await settle()
        greedy = callers.ask(client="greedy")
        await settle()
        assert callers.engine.waiting == 1
        tasks = [greedy, callers.ask(client="greedy"), callers.ask(client="modest")]
        await settle()
        assert callers.engine.waiting == 2
        await callers.reply()
        await callers.reply()
        await callers.reply()
        assert (await busy).generated.best.text == "X"
        assert [result.cached for result in await asyncio.gather(*tasks)] == [False, True, False]

    with_callers(test, capacity=1)


def test_a_client_waits_for_another_s_job_that_a_worker_has() -> None:
    """A job that is being decoded is shared with every client."""

    async def test(callers: Callers) -> None:
        tasks = [callers.ask(client="one"), callers.ask(client="two")]
        await callers.reply()
        assert [result.cached for result in await asyncio.gather(*tasks)] == [False, True]

    with_callers(test)


def test_a_hit_needs_no_worker() -> None:
    """A hit answers while the engine restarts and after it has begun to drain."""

    async def test(callers: Callers) -> None:
        first = callers.ask()
        await callers.reply()
        await first
        callers.engine.drain()
        assert callers.engine.state == "draining"
        assert (await callers.ask()).cached
        with pytest.raises(EngineNotReady):
            await callers.ask("b")

    with_callers(test)


def reformulator_of(callers: Callers, lexicon: Lexicon | None = None) -> Reformulator:
    """Returns a reformulator with the cached engine, and the usual limits."""
    admission = Admission(callers.engine, Settings())
    return Reformulator(
        callers.engine,
        Profile.of(MODEL, None),
        admission,
        lexicon or Lexicon({}),
        callers.cached,
    )


def start(
    reformulator: Reformulator, options: Options, *queries: str
) -> asyncio.Task[list[QueryResult]]:
    """Starts to reformulate queries, without waiting for the results."""
    return asyncio.create_task(reformulator.reformulate(queries, options))


def test_strict_hits_need_no_room() -> None:
    """With a full queue, strict queries are accepted if their results are known, else refused."""

    async def test(callers: Callers) -> None:
        reformulator, strict = reformulator_of(callers), Options(strict=True)
        for query in "ab":
            task = start(reformulator, strict, query)
            await callers.reply()
            await task
        others = [callers.ask(text) for text in "xy"]
        await settle()
        assert callers.engine.free_slots(1) == 0
        results = await reformulator.reformulate(["a", "b"], strict)
        assert [result.cached for result in results] == [True, True]
        for queries in (["a", "c"], ["c"]):
            with pytest.raises(RequestQueueFull):
                await reformulator.reformulate(queries, strict)
        with pytest.raises(RequestQueueFull):
            await reformulator.reformulate(["a"], Options(strict=True, cache=False))
        for other in others:
            other.cancel()
        await settle()

    with_callers(test, capacity=1, max_queue=1)


def test_a_request_can_go_past_the_cache() -> None:
    """`cache: false` neither reads nor writes."""

    async def test(callers: Callers) -> None:
        reformulator, past = reformulator_of(callers), Options(cache=False)
        for _ in range(2):
            task = start(reformulator, past, "a")
            await callers.reply()
            await task
        assert (len(callers.cache), callers.lookups) == (0, [])
        for _ in range(2):
            task = start(reformulator, Options(), "a")
            if not callers.lookups:
                await callers.reply()
            await task
        assert callers.lookups == ["miss", "hit"]
        task = start(reformulator, past, "a")
        await callers.reply(-1, "another")
        (result,) = await task
        assert [one.text for one in result.reformulations] == ["another"]

    with_callers(test)


def test_selections_are_cached_with_their_options() -> None:
    """A hit with other options is selected anew from the same sequences."""

    async def test(callers: Callers) -> None:
        reformulator = reformulator_of(callers)
        plain = Options(strategy="beam", n=1, parameters={"num_beams": 4})
        task = start(reformulator, plain, "query 7")
        await callers.reply(-1, "seven query", "query 7 seven")
        await task
        kept = Options(
            strategy="beam",
            n=1,
            parameters={"num_beams": 4},
            preserve=frozenset({"numbers"}),
            leaves_alone=False,
        )
        texts = []
        for options in (plain, kept, kept, plain):
            (result,) = await reformulator.reformulate(["query 7"], options)
            assert result.cached
            texts.append(result.reformulations[0].text)
        assert texts == ["seven query", "query 7 seven", "query 7 seven", "seven query"]

    with_callers(test)


def test_another_lexicon_selects_anew() -> None:
    """A reformulator with another lexicon takes no selection of the first, only its sequences."""

    async def test(callers: Callers) -> None:
        options = Options(
            strategy="beam", parameters={"num_beams": 4}, preserve=frozenset({"content"})
        )
        lexicons = (Lexicon({}), Lexicon({"wiskey": 5}))
        texts = []
        for lexicon in lexicons:
            reformulator = reformulator_of(callers, lexicon)
            task = start(reformulator, options, "buy wiskey")
            if not callers.lookups:
                await callers.reply(-1, "buy whiskey", "purchase wiskey")
            (result,) = await task
            texts.append(result.reformulations[0].text)
        assert callers.lookups == ["miss", "hit"]
        assert texts == ["buy whiskey", "purchase wiskey"]

    with_callers(test)


@pytest.mark.parametrize("options", [Options(), Options(n=2), Options(include_original=True)])
def test_a_stream_of_a_hit_says_what_the_first_said(options: Options) -> None:
    """The texts and the result of a stream are the same the second time."""

    async def test(callers: Callers) -> None:
        reformulator = reformulator_of(callers)
        streams: list[tuple[dict[int, str], object]] = []

        async def listen() -> None:
            texts: dict[int, str] = {}
            finished = None
            async for event in reformulator.stream(["query"], options):
                if isinstance(event, TextDelta):
                    texts[event.rank] = texts.get(event.rank, "") + event.text
                if isinstance(event, Finished):
                    finished = event.result
            assert finished is not None
            streams.append((texts, finished.reformulations))

        task = asyncio.create_task(listen())
        await settle()
        process: FakeProcess = callers.pool.newest
        if callers.inbox[0].stream:
            process.reply(Progress(callers.inbox[0].job, 0, " one"))
            process.reply(Progress(callers.inbox[0].job, 0, "  more "))
        texts = [" one  more ", "two", "three"][: callers.inbox[0].config.width]
        await callers.reply(-1, *texts)
        await task
        await listen()
        assert callers.lookups == ["miss", "hit"]
        assert streams[0] == streams[1]

    with_callers(test)
