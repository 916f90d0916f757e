"""Queries that are better left alone, and what guards and lexicon do to a result."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.fakes import FakePool, settle, with_engine
from support.reformulating import reply_to_all
from t5engine.messages import Generate
from t5engine.pool.engine import Engine
from t5gguf.recipe import Generation
from t5gguf.tasks import Task
from t5serve.reformulation.english import English
from t5serve.reformulation.lexicon import EMPTY, Lexicon
from t5serve.reformulation.options import Options
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Reformulator
from t5serve.reformulation.results import QueryResult
from t5serve.reformulation.screening import reason_to_leave

CAREFUL = Task(
    preserve=["numbers", "negation", "content", "rare", "identifiers"],
    max_query_tokens=8,
    languages=["en"],
    rewrite_code=False,
)
CORRECTING = Task(preserve=["content"], corrects=True, rewrite_code=False)


def reformulate(
    query: str,
    *texts: str,
    task: Task = CAREFUL,
    lexicon: Lexicon = EMPTY,
    **requested: Any,
) -> tuple[QueryResult, list[str | None]]:
    """The result of a query to which the model answers with these texts; and the model's inputs."""
    results: list[QueryResult] = []
    inputs: list[str | None] = []

    async def test(engine: Engine, pool: FakePool) -> None:
        profile = Profile({"task": task}, Generation())
        reformulator = Reformulator(engine, profile, lexicon=lexicon)
        options = Options.for_task(task, **requested)
        running = asyncio.create_task(reformulator.reformulate([query], options))
        await settle()
        await reply_to_all(pool, *texts)
        results.extend(await running)
        jobs = [job.text for job in pool.newest.inbox if isinstance(job, Generate)]
        inputs.extend(dict.fromkeys(jobs))  # beams read what the greedy search has read

    with_engine(test, capacity=8)
    return results[0], inputs


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("wie repariere ich einen wasserhahn", "language"),
        (
            "\u043a\u0430\u043a \u0438\u0441\u043f\u0435\u0447\u044c \u0445\u043b\u0435\u0431",
            "language",
        ),
        ("comment apprendre le piano", "language"),
        ("git rebase --onto main feature", "code"),
        ("TypeError: 'x' is not a function", "code"),
        ("SELECT name FROM users WHERE id", "code"),
        ("ann@example.com", "identifier"),
        ("B07XJ8C8F5", "identifier"),
        ("/etc/nginx/nginx.conf", "identifier"),
        ("nikola tesla", "name"),
        ("zelda", "name"),
    ],
)
def test_what_is_left_alone_never_reaches_the_model(query: str, reason: str) -> None:
    """The query comes back at once, with the reason, and not as a failure."""
    result, inputs = reformulate(query, "anything", strict=True)
    assert (result.unchanged_reason, result.fallback_reason, inputs) == (reason, None, [])
    (only,) = result.reformulations
    assert (only.text, only.source, only.score) == (query, "original", None)


@pytest.mark.parametrize(
    "query",
    [
        "weather in playa del carmen",
        "jaromir jagr nhl teams",
        "what is the formula of iron(iii) oxide",
        "iphone 13 vs iphone 14",
        "how to learn french",
        "is c++ hard",
        "who is nikola tesla",
    ],
)
def test_english_with_names_is_english(query: str) -> None:
    """Foreign names, chemistry and products make no foreign query, code or name."""
    assert reason_to_leave(query, CAREFUL, English.load()) is None


def test_without_a_say_of_the_recipe_nothing_is_left_alone() -> None:
    """A file without a recipe has these checks off."""
    for query in ("nikola tesla", "wie geht das", "git rebase --onto main"):
        assert reason_to_leave(query, Task(), English.load()) is None
    result, _ = reformulate("wie geht das", "so geht das", task=Task())
    assert [one.text for one in result.reformulations] == ["so geht das"]


def test_when_no_candidate_passes_the_query_is_the_answer() -> None:
    """Guards leave the query, which `strict` takes for no failure."""
    result, inputs = reformulate("can cats eat rice", "can dogs eat rice", strict=True)
    assert (result.unchanged_reason, inputs) == ("guard", ["can cats eat rice"])
    assert [one.text for one in result.reformulations] == ["can cats eat rice"]


def test_the_next_best_that_passes_is_the_answer() -> None:
    """At n = 1, too: beams are searched for it."""
    result, _ = reformulate("can cats eat rice", "can dogs eat rice", "can a cat eat rice")
    assert [one.text for one in result.reformulations] == ["can a cat eat rice"]
    assert result.unchanged_reason is None


def test_a_query_of_too_many_tokens_is_left_alone() -> None:
    """The fake worker counts five tokens; the task takes so many, or fewer."""
    short = Task(max_query_tokens=4)
    result, _ = reformulate("can cats eat rice", "can a cat eat rice", task=short)
    assert result.unchanged_reason == "too_long_to_rewrite"


def test_the_speller_comes_before_the_model() -> None:
    """The model corrects what the lexicon has left; words of the lexicon are not altered."""
    lexicon = Lexicon({"heat": 9, "transfer": 9, "plates": 9})
    for texts in (["heat transfer plates"], ["plates transfer"], [""]):
        result, inputs = reformulate(
            "ehat transfre plates", *texts, task=CORRECTING, lexicon=lexicon
        )
        assert inputs == ["heat transfer plates"]
        assert [one.text for one in result.reformulations] == ["heat transfer plates"]
        assert (result.unchanged_reason, result.fallback_reason) == (None, None)
    result, inputs = reformulate("ehat", "heat", task=CAREFUL, lexicon=lexicon)
    assert inputs == []  # a name, and no task that corrects


def test_english_words_are_corrected_without_a_lexicon() -> None:
    """So they are for tasks for English queries, and for no other ones."""
    query = "where do i recieve my emial"  # codespell:ignore
    corrected = "where do i receive my email"
    for task in (CAREFUL, Task(preserve=["numbers"], languages=["en"], corrects=True)):
        result, inputs = reformulate(query, corrected, task=task)
        assert inputs == [corrected]
        assert [one.text for one in result.reformulations] == [corrected]
        assert (result.original, result.unchanged_reason) == (query, None)
    for task in (Task(corrects=True), Task()):
        assert reformulate(query, corrected, task=task)[1] == [query]


def test_a_task_that_rewords_has_only_sure_errors_corrected() -> None:
    """Words that may be names stay, and so do the words of a collection."""
    likely, sure = "cmake missing in path", "plot of the volocity"  # codespell:ignore
    correcting = Task(languages=["en"], corrects=True)
    assert reformulate(likely, "x", task=correcting)[1] == ["make missing in path"]
    assert reformulate(likely, "x")[1] == [likely]
    assert reformulate(sure, "x")[1] == ["plot of the velocity"]
    assert reformulate(sure, "x", lexicon=Lexicon({"volocity": 1}))[1] == [sure]
    assert reformulate(sure, "x", preserve=frozenset())[1] == [sure]  # guards off: as it is


def test_a_corrected_query_is_found_beside_the_original() -> None:
    """The original query is what was asked, with its errors; ranks follow each other."""
    query, corrected = "plot of the volocity", "plot of the velocity"  # codespell:ignore
    for text in (corrected, "velocity plot"):
        result, _ = reformulate(query, text, include_original=True)
        assert [one.text for one in result.reformulations] == [query, text]
        assert [one.source for one in result.reformulations] == ["original", "model"]
        assert [one.rank for one in result.reformulations] == [1, 2]


def test_misspelt_english_is_no_other_language() -> None:
    """A task that corrects nothing answers such queries too."""
    query = "recieve emial notfications on andriod phone"  # codespell:ignore
    assert reformulate(query, "an answer", task=Task(languages=["en"]))[1] != []
    result, inputs = reformulate("wo gibt es ein gutes fahrrad", "an answer", task=CAREFUL)
    assert (result.unchanged_reason, inputs) == ("language", [])
