"""Admission: the requests that are accepted or refused at once."""

from __future__ import annotations

import asyncio

import pytest

from support.fakes import CONFIG, FakePool, answer, settle, with_engine
from t5engine.decoding.parameters import GenerationConfig
from t5engine.pool.engine import Engine
from t5serve.errors import InvalidRequest, NotReady, QueueFull
from t5serve.models.admission import Admission
from t5serve.settings import Settings

GREEDY = GenerationConfig(max_tokens=4)
SETTINGS = Settings(max_queries=4, max_request_tokens=100)


def wide(sequences: int, max_tokens: int = 4) -> GenerationConfig:
    return GenerationConfig(max_tokens=max_tokens, do_sample=True, num_return_sequences=sequences)


def unstarted() -> Admission:
    return Admission(Engine([CONFIG], max_queue=1, start=FakePool().start), SETTINGS)


@pytest.mark.parametrize(
    ("prompts", "config"),
    [(4, GREEDY), (1, wide(10, 10)), (4, wide(5, 5)), (2, GenerationConfig(max_tokens=50))],
)
def test_within_the_budget(prompts: int, config: GenerationConfig) -> None:
    """A request at the limit is accepted."""
    unstarted().check_budget(prompts, config)


@pytest.mark.parametrize(
    ("prompts", "config", "message"),
    [
        (5, GREEDY, "5 inputs, at most 4"),
        (3, wide(5, 7), "are 105, at most 100"),
        (1, GenerationConfig(max_tokens=26, num_beams=4), "are 104"),
    ],
)
def test_over_the_budget(prompts: int, config: GenerationConfig, message: str) -> None:
    """The budget counts inputs x sequences x tokens; all beams count, returned or not."""
    with pytest.raises(InvalidRequest, match=message):
        unstarted().check_budget(prompts, config)


def test_too_many_inputs_name_their_field() -> None:
    """The error names the field that the route uses for its inputs."""
    with pytest.raises(InvalidRequest) as raised:
        unstarted().check_budget(5, GREEDY, param="prompt")
    assert raised.value.param == "prompt"


def test_nothing_is_taken_while_loading() -> None:
    """A request is refused at once while the model is loading."""
    with pytest.raises(NotReady, match="loading"):
        unstarted().check_room(1, GREEDY)


def test_room() -> None:
    """Requests are refused while the queue is full, and accepted once it has room again."""

    async def test(engine: Engine, pool: FakePool) -> None:
        admission = Admission(engine, SETTINGS)
        admission.check_room(4, GREEDY)  # two with the worker, two waiting
        with pytest.raises(QueueFull):
            admission.check_room(5, GREEDY)
        admission.check_room(3, wide(20))  # wider than the worker: one alone
        with pytest.raises(QueueFull):
            admission.check_room(4, wide(20))
        tasks = [
            asyncio.create_task(engine.generate(GREEDY, text=text, timeout=9)) for text in "abcd"
        ]
        await settle()
        with pytest.raises(QueueFull):
            admission.check_room(1, GREEDY)
        with pytest.raises(QueueFull, match="room for 1 more"):
            admission.check_room(3, GREEDY, lambda: 1)  # the results of two are known
        admission.check_room(3, GREEDY, lambda: 0)
        while not all(task.done() for task in tasks):
            pool.newest.reply(answer(pool.newest.inbox.pop(0)))
            await settle()
        admission.check_room(4, GREEDY, _refuse_to_count)

    with_engine(test, capacity=2, max_queue=2)


def _refuse_to_count() -> int:
    raise AssertionError("there is room for all: nothing has to be looked up")


def test_nothing_is_taken_while_draining() -> None:
    """A request is refused at once while the engine drains."""

    async def test(engine: Engine, _pool: FakePool) -> None:
        admission = Admission(engine, SETTINGS)
        engine.drain()
        with pytest.raises(NotReady, match="draining"):
            admission.check_room(1, GREEDY)

    with_engine(test)
