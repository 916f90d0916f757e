"""Names that stand for one of two tasks, by the form of the query."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.fakes import MODEL, FakePool, with_engine
from support.reformulating import reply_to_all
from t5engine.messages import Generate
from t5engine.pool.engine import Engine
from t5gguf import recipe
from t5gguf.recipe import Alias, Recipe, RecipeError, Source
from t5gguf.tasks import Task
from t5serve.errors import InvalidRequest
from t5serve.http.schemas.reformulate import ReformulateRequest
from t5serve.reformulation.content_words import is_keywords
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Reformulator

RECIPE = Recipe(
    name="x",
    description="",
    license="",
    file="x.gguf",
    source=Source("a/b"),
    tasks={
        "search": Task(template="search: {query}", n=2),
        "question": Task.of_prefix("question: "),
    },
    aliases={"expand": Alias(questions="search", keywords="question")},
)
PROFILE = Profile.of(MODEL, RECIPE)


@pytest.mark.parametrize(
    "query", ["boil egg time", "best time to visit japan", "new york hotels without parking"]
)
def test_keywords_begin_with_what_they_are_about(query: str) -> None:
    """A preposition further on does not make a question of them."""
    assert is_keywords(query)


@pytest.mark.parametrize(
    "query",
    ["how long do eggs boil", "Create a table of hotels", "is it safe", "japan, when to go?", ""],
)
def test_questions_and_requests_are_no_keywords(query: str) -> None:
    """They begin with a word that asks, or end with a question mark."""
    assert not is_keywords(query)


def test_each_query_of_a_request_has_its_own_task() -> None:
    """Of two queries in one request, the question is shortened and the keywords become one."""

    async def test(engine: Engine, pool: FakePool) -> None:
        body = ReformulateRequest.model_validate(
            {"queries": ["how do i boil an egg", "boil egg time"], "task": "expand"}
        )
        options = body.options(1000, PROFILE)
        texts = [item.text for item in body.items()]
        work = Reformulator(engine, PROFILE).reformulate(texts, options)
        task = asyncio.create_task(work)
        await reply_to_all(pool)
        await task
        sent = [message for message in pool.newest.inbox if isinstance(message, Generate)]
        assert [message.text for message in sent] == [
            "search: how do i boil an egg",
            "question: boil egg time",
        ]
        assert [message.config.width > 1 for message in sent] == [True, False]

    with_engine(test)


def test_error_of_an_unknown_task_names_the_aliases() -> None:
    """They can be sent as well."""
    with pytest.raises(InvalidRequest, match="search, question, expand"):
        PROFILE.task("translate")


@pytest.mark.parametrize(
    ("aliases", "fault"),
    [
        ('expand = {questions = "search", keywords = "ask"}', "unknown task 'ask'"),
        ('search = {questions = "search", keywords = "search"}', "a task and of an alias"),
        ('expand = {questions = "search"}', "keywords"),
    ],
)
def test_recipe_with_a_wrong_alias_is_refused(
    aliases: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names what is wrong."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "x.toml").write_text(
        'name = "x"\ndescription = ""\nlicense = ""\nfile = "x.gguf"\nsource = {repo = "a/b"}\n'
        f'[tasks]\nsearch = "search: "\n[aliases]\n{aliases}\n'
    )
    monkeypatch.setattr(recipe, "CHECKOUT", tmp_path)
    with pytest.raises(RecipeError, match=fault):
        recipe.load("x")
