"""The tasks and defaults of a model, from its recipe or its file."""

from __future__ import annotations

import pytest

from support.fakes import MODEL
from t5gguf.recipe import Generation, Recipe, Source
from t5gguf.tasks import Task
from t5serve.errors import InvalidRequest
from t5serve.reformulation.profile import Profile


def test_unknown_task_names_the_known_ones() -> None:
    """The error lists the tasks of the model."""
    with pytest.raises(InvalidRequest, match="paraphrase, fix") as raised:
        Profile.of(MODEL, None).task("translate")
    assert raised.value.param == "task"


def test_recipe_overrules_the_file() -> None:
    """The recipe takes precedence over the metadata of the file."""
    recipe = Recipe(
        name="x",
        description="",
        license="",
        file="x.gguf",
        source=Source("a/b"),
        tasks={"expand": Task.of_prefix("expand: ")},
        generation=Generation(max_tokens=500),
    )
    profile = Profile.of(MODEL, recipe)
    assert profile.prefixes == {"expand": "expand: "}
    assert profile.generation.max_tokens == MODEL.max_tokens


def test_a_file_says_which_tasks_answer_with_lists() -> None:
    """With the separator, and how many queries there are at most; what is wrong is ignored."""
    keys = {"t5serve.tasks": "search,fix", "t5serve.prefix.search": "search: "}
    keys |= {"t5serve.separator.search": " ; ", "t5serve.n.search": "5"}
    profile = Profile.of(type(MODEL)("x", "", 10, 512, 128, keys), None)
    assert profile.tasks == {
        "search": Task(template="search: {query}", separator=" ; ", n=5),
        "fix": Task(),
    }
    assert profile.separators == {"search": " ; "}
    spoilt = Profile.of(type(MODEL)("x", "", 10, 512, 128, keys | {"t5serve.n.search": "99"}), None)
    assert spoilt.tasks["search"] == Task.of_prefix("search: ")


def test_file_without_our_keys_has_one_plain_task() -> None:
    """A GGUF file of another converter is served without a prefix."""
    bare = Profile.of(type(MODEL)("x", "", 10, 512, 128, {}), None)
    assert bare.prefixes == {"reformulate": ""}
    assert bare.generation.max_tokens == 64
