"""The engine's judgements: places, deadlines, deaths, forecasts; against fake worker processes."""

from __future__ import annotations

import asyncio
import math

import pytest

from support.fakes import FakePool, answer, settle, submit, with_engine
from t5engine.errors import DeadlineExceeded, InputQuarantined, InputTooLong, JobFailed
from t5engine.messages import Costs, Generate, Judge, Judged, Refused, Timings
from t5engine.pool import supervisor
from t5engine.pool.costs import CostModel
from t5engine.pool.engine import Engine
from t5engine.pool.worker import MAX_JUDGEMENTS
from t5engine.relevance import Relevance, compute_relevance, read_relevance

TIMINGS = Timings(0.1, 1.0, 2.0)
COSTS = Costs(encodes=[(8, 0.01), (128, 0.1)], steps=[(1, 0.01), (4, 0.02)])


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts workers without a delay."""
    monkeypatch.setattr(supervisor, "READY_BACKOFF_SECONDS", (0.0, 0.0))


def judge(engine: Engine, text: str, seconds: float = 5.0) -> asyncio.Task[Judged]:
    """Starts a judgement, which ends once the fake process replies."""
    work = engine.judging.judge(text, "yes", "no", timeout=seconds)
    return asyncio.create_task(work)


def judged(job: int, positive: float = 1.0) -> Judged:
    return Judged(job, positive, 0.0, 5, TIMINGS, 1)


def test_a_judgement_comes_back() -> None:
    """Both logits and the tokens; `on_judged` is told."""

    async def test(engine: Engine, pool: FakePool) -> None:
        told: list[Judged] = []
        engine.judging.on_judged = lambda outcome, _queue, _ipc: told.append(outcome)
        task = judge(engine, "a")
        await settle()
        (message,) = pool.newest.inbox
        assert isinstance(message, Judge)
        assert (message.text, message.positive, message.negative) == ("a", "yes", "no")
        pool.newest.reply(judged(message.job, 2.0))
        assert (await task).positive_logit == 2.0
        assert told == [await task]

    with_engine(test)


def test_judgements_leave_room_for_queries() -> None:
    """A worker has a few at a time, however many wait, and a query starts beside them."""

    async def test(engine: Engine, pool: FakePool) -> None:
        tasks = [judge(engine, f"document {number}") for number in range(30)]
        await settle()
        assert len(pool.newest.inbox) == MAX_JUDGEMENTS == engine.judging.places
        query = submit(engine, "query")
        await settle()
        newest = pool.newest.inbox[-1]
        assert isinstance(newest, Generate)
        pool.newest.reply(answer(newest))
        assert (await query).generated.best.text == "QUERY"
        for _ in range(30):
            message = next(one for one in pool.newest.inbox if isinstance(one, Judge))
            pool.newest.inbox.remove(message)
            pool.newest.reply(judged(message.job))
            await settle()
        assert len(await asyncio.gather(*tasks)) == 30

    with_engine(test, capacity=16, max_queue=64)


def test_a_caller_that_leaves_cancels_its_judgement() -> None:
    """As the deadline does."""

    async def test(engine: Engine, pool: FakePool) -> None:
        with pytest.raises(DeadlineExceeded):
            await judge(engine, "a", seconds=0.01)
        (message,) = pool.newest.inbox
        assert pool.newest.cancelled == [message.job]

    with_engine(test)


def test_a_judgement_is_tried_again_alone() -> None:
    """After a death; an input that ends two workers alone is refused from then on."""

    async def test(engine: Engine, pool: FakePool) -> None:
        poison, innocent = judge(engine, "poison"), judge(engine, "innocent")
        await settle()
        pool.newest.die()
        await settle()
        retried = pool.newest.inbox[0]
        assert len(pool.newest.inbox) == 1
        pool.newest.reply(judged(retried.job))
        await settle()
        pool.newest.die()
        await settle()
        outcomes = await asyncio.gather(poison, innocent, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Judged, JobFailed}
        again = judge(engine, "poison" if isinstance(outcomes[0], JobFailed) else "innocent")
        await settle()
        pool.newest.die()
        with pytest.raises(InputQuarantined):
            await again

    with_engine(test, capacity=4)


def test_a_refusal_is_the_caller_s() -> None:
    async def test(engine: Engine, pool: FakePool) -> None:
        task = judge(engine, "a")
        await settle()
        pool.newest.reply(Refused(pool.newest.inbox[0].job, "too many tokens", too_long=True))
        with pytest.raises(InputTooLong, match="too many tokens"):
            await task

    with_engine(test)


def test_the_cost_of_documents_is_known() -> None:
    """An encode each, of at most the longest input, and a step for every four."""
    costs = CostModel()
    costs.record_costs(COSTS)
    costs.max_input_tokens = 128
    assert costs.judging_seconds([]) == 0
    assert costs.judging_seconds([26]) == pytest.approx(0.01 + 0.02)
    assert costs.judging_seconds([10_000] * 8) == pytest.approx(8 * 0.1 + 2 * 0.02)
    for _ in range(200):
        costs.record_judged(Judge(1, "x" * 100, 5, 6), judged(1))
    assert costs.judging_seconds([160]) == pytest.approx(0.01 + 0.02, rel=0.01)  # 8 tokens
    for _ in range(200):  # a shortened input says nothing about its text
        shortened = Judged(1, 0.0, 0.0, 128, TIMINGS, 1)
        costs.record_judged(Judge(1, "x" * 100_000, 5, 6), shortened)
    assert costs.judging_seconds([160]) == pytest.approx(0.01 + 0.02, rel=0.01)


def test_documents_without_a_chance_are_refused() -> None:
    """An idle engine tries what takes up to twice the time, since its estimates may be wrong."""

    async def test(engine: Engine, pool: FakePool) -> None:
        lengths = [10_000] * 100  # 10.5 seconds
        engine.judging.check_time(lengths, 11.0)
        engine.judging.check_time(lengths, 6.0)
        with pytest.raises(DeadlineExceeded, match="for 100 inputs"):
            engine.judging.check_time(lengths, 5.0)
        task = judge(engine, "a")
        await settle()
        pool.newest.reply(judged(pool.newest.inbox[0].job))
        await task
        with pytest.raises(DeadlineExceeded):
            engine.judging.check_time(lengths, 6.0)

    costs = Costs(encodes=[(8, 0.01), (512, 0.1)], steps=[(4, 0.02)])
    with_engine(test, costs=costs)


@pytest.mark.parametrize("template", ["", "{query}", "{document}", "{query} {document} {query}"])
def test_a_template_has_both_texts_once(template: str) -> None:
    with pytest.raises(ValueError, match="exactly once"):
        Relevance(template, "yes", "no")


def test_two_tokens_are_weighed() -> None:
    for tokens in (("", "no"), ("yes", ""), ("no", "no")):
        with pytest.raises(ValueError, match="two different tokens"):
            Relevance("{query} {document}", *tokens)
    metadata = {"t5serve.rerank.template": "{query} {document}", "t5serve.rerank.positive": "yes"}
    with pytest.raises(ValueError, match="two different tokens"):
        read_relevance(metadata)
    assert read_relevance({"t5serve.tasks": "a"}) is None


def test_a_document_stands_where_the_template_says() -> None:
    """The cut is the document's; placeholders and braces in the texts stay as they are."""
    relevance = Relevance("Document: {document} Query: {query}!", "yes", "no")
    text, cut = relevance.render("{document} {}", "a {query}")
    assert text == "Document: a {query} Query: {document} {}!"
    assert (text[cut.start : cut.end], cut.side) == ("a {query}", "right")


@pytest.mark.parametrize("difference", [0.0, 1.0, -3.0, 50.0, -800.0, 800.0])
def test_relevance_is_the_softmax_of_two(difference: float) -> None:
    """Without overflow, whatever the logits are."""
    expected = 1 / (1 + math.exp(-difference)) if abs(difference) < 700 else float(difference > 0)
    assert compute_relevance(difference, 0.0) == pytest.approx(expected)
    assert compute_relevance(5.0, 5.0 - difference) == pytest.approx(expected)
