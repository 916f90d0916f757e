"""A separator that the vocabulary lacks ends the start of the service, and is not served."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.parity import with_model
from support.rewriting import rewrite
from support.serving import start
from t5engine.config import WorkerConfig
from t5engine.errors import ModelLoadError
from t5engine.pool.engine import Engine
from t5gguf.recipe import Recipe, Source
from t5gguf.tasks import Task
from t5serve.errors import StartupError
from t5serve.models.served_model import ServedModel
from t5serve.settings import Settings


def test_a_file_with_another_separator_is_not_served(list_file: Path, tmp_path: Path) -> None:
    """The service says which separator it is, and ends."""
    changes = {"t5serve.separator.search": " \u2022 "}
    file = rewrite(list_file, tmp_path / "x.gguf", changes)
    server = start(model=str(file))
    output = server.wait()
    assert server.process.returncode != 0
    assert "the separator of a task is ' \u2022 '" in output
    assert "name another one" in output


@pytest.mark.parametrize(
    ("separators", "is_served"), [([], True), ([" | "], True), ([" ; ", "||"], False)]
)
def test_a_recipe_s_separators_are_checked(
    list_file: Path,
    separators: list[str],
    is_served: bool,  # noqa: FBT001
) -> None:
    """A worker does not get ready with a mark that is no piece of its own."""
    config = WorkerConfig(str(list_file), 1, [], 512, separators=separators)

    async def load() -> None:
        async with Engine([config], max_queue=1) as engine:
            await engine.ready()

    if is_served:
        asyncio.run(load())
    else:
        with pytest.raises(ModelLoadError, match=r"is '\|\|', but no piece"):
            asyncio.run(load())


@pytest.mark.parametrize("separator", [" | ", "||"])
def test_a_recipe_overrules_the_separators_of_the_file(
    list_file: Path, monkeypatch: pytest.MonkeyPatch, separator: str
) -> None:
    """A model is served with the recipe's separators, or not at all."""
    tasks = {"search": Task(separator=separator, n=3)}
    recipe = Recipe("x", "", "", list_file.name, Source("a/b"), tasks)
    monkeypatch.setattr(Settings, "find_model", lambda _: (list_file, recipe))

    async def load() -> dict[str, str]:
        async with ServedModel.from_settings(Settings()) as model:
            return model.profile.separators

    if separator == " | ":
        assert asyncio.run(load()) == {"search": separator}
    else:
        with pytest.raises(StartupError, match="separator of a task"):
            asyncio.run(load())


def test_a_file_without_separators_is_served(embedded: Path) -> None:
    """As ever."""

    async def use(engine: Engine) -> str:
        return (await engine.ready()).name

    assert with_model(embedded, use) == "tiny-t5"
