"""Greedy sequences first, and beams for what guards drop or what is not sure."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec import structs

from support.fakes import FakePool, answer, settle, with_engine
from t5engine.messages import Generate
from t5engine.pool.engine import Engine
from t5gguf.recipe import Generation
from t5gguf.tasks import Task
from t5serve.reformulation.options import Options, Strategy
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import SURE_SCORE, Reformulator
from t5serve.reformulation.results import QueryResult

GUARDED = Task(preserve=["content"], num_beams=6)
QUERY, LOST, KEPT = "clean a laptop", "clean a phone", "cleaning a laptop"


def reformulate(
    *answers: list[str],
    task: Task = GUARDED,
    usual: Strategy = "auto",
    score: float = SURE_SCORE / 2,
    **requested: Any,
) -> tuple[QueryResult, list[int]]:
    """The result when the worker's jobs have these answers, and the beams of each job.

    Args:
        answers: the texts of each job.
        task: the task.
        usual: the model's strategy.
        score: of the best sequence.
        requested: options of the request.
    """
    results: list[QueryResult] = []
    beams: list[int] = []

    async def test(engine: Engine, pool: FakePool) -> None:
        reformulator = Reformulator(engine, Profile({"task": task}, Generation(strategy=usual)))
        options = Options.for_task(task, **requested)
        running = asyncio.create_task(reformulator.reformulate([QUERY], options))
        for texts in answers:
            await settle()
            reply = answer(pool.newest.inbox[-1], *texts)
            outputs = [
                structs.replace(output, logprob=score * output.decoded - rank)
                for rank, output in enumerate(reply.outputs)
            ]
            pool.newest.reply(structs.replace(reply, outputs=outputs))
        results.extend(await running)
        jobs = [job for job in pool.newest.inbox if isinstance(job, Generate)]
        beams.extend(job.config.num_beams for job in jobs)

    with_engine(test, capacity=8)
    return results[0], beams


def test_a_greedy_sequence_that_passes_is_enough() -> None:
    """No beams are searched."""
    result, beams = reformulate([KEPT])
    assert [one.text for one in result.reformulations] == [KEPT]
    assert beams == [1]


def test_beams_are_searched_if_the_greedy_sequence_is_not_sure() -> None:
    """Their best sequence may be another one."""
    result, beams = reformulate(["clean the laptop"], [KEPT], score=SURE_SCORE - 0.01)
    assert [one.text for one in result.reformulations] == [KEPT]
    assert beams == [1, 6]


@pytest.mark.parametrize("lost", [LOST, ""])
def test_beams_replace_a_sequence_that_is_dropped(lost: str) -> None:
    """What both searches cost is reported."""
    first, _ = reformulate([KEPT])
    result, beams = reformulate([lost], [lost, KEPT])
    assert [one.text for one in result.reformulations] == [KEPT]
    assert result.unchanged_reason is None
    assert beams == [1, 6]
    assert result.completion_tokens > first.completion_tokens
    assert result.timings.total == pytest.approx(2 * first.timings.total)
    assert result.prompt_tokens == first.prompt_tokens


@pytest.mark.parametrize(("first", "reason"), [("clean the laptop", None), (LOST, "guard")])
def test_what_greedy_search_found_stands_if_beams_fail(first: str, reason: str | None) -> None:
    """The deadline passes, the service shuts down: there is an answer already."""
    result, beams = reformulate([first], score=-1, timeout_ms=300, strict=True)
    assert [one.text for one in result.reformulations] == [QUERY if reason else first]
    assert (result.unchanged_reason, result.fallback_reason) == (reason, None)
    assert beams == [1, 6]


def test_the_query_stays_if_beams_are_dropped_too() -> None:
    result, beams = reformulate([LOST], [LOST, LOST])
    assert [one.text for one in result.reformulations] == [QUERY]
    assert (result.unchanged_reason, beams) == ("guard", [1, 6])


@pytest.mark.parametrize(
    ("task", "requested", "beams"),
    [
        (GUARDED, {"strategy": "beam"}, 6),
        (GUARDED, {"parameters": {"num_beams": 5}}, 5),
        (Task(preserve=["content"], num_beams=6, corrects=True), {}, 6),
        (GUARDED, {"strategy": "greedy"}, 1),
        (Task(num_beams=6), {}, 1),  # nothing can be dropped
        (GUARDED, {"preserve": frozenset()}, 1),
    ],
)
def test_one_search_where_its_kind_counts(
    task: Task, requested: dict[str, Any], beams: int
) -> None:
    """So it is if the request chooses, or if scores are compared with the query's."""
    assert reformulate([KEPT], task=task, **requested)[1] == [beams]


def test_a_model_whose_strategy_is_beam_search_has_beams() -> None:
    assert reformulate([KEPT], usual="beam")[1] == [6]
