"""The profile of a model: its tasks and its generation defaults."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import msgspec

from t5engine.messages import ModelInfo
from t5engine.relevance import RERANK_KEY, Relevance, read_relevance
from t5gguf.recipe import Alias, Generation, GenerationDefaults, Recipe
from t5gguf.task_keys import read_tasks
from t5gguf.tasks import Task
from t5serve.errors import InvalidRequest, excerpt

logger = logging.getLogger(__name__)

DEFAULT_TASK = "reformulate"
GENERATION_KEY = "t5serve.generation."


@dataclass(frozen=True)
class Profile:
    """The tasks and defaults of one model.

    Attributes:
        tasks: the tasks by name; the first is the default. A model that only reranks has none.
        generation: the generation defaults, for requests that set nothing else.
        completions_prefix: the text before every prompt of /v1/completions.
        relevance: how the model reranks documents; None: it does not.
        aliases: further names for tasks.
    """

    tasks: Mapping[str, Task]
    generation: GenerationDefaults
    completions_prefix: str = ""
    relevance: Relevance | None = None
    aliases: Mapping[str, Alias] = field(default_factory=dict)

    @classmethod
    def of(cls, model: ModelInfo, recipe: Recipe | None) -> Self:
        """Builds the profile from the recipe, or from the file's metadata without a recipe."""
        if recipe is not None:
            profile = cls(
                tasks=recipe.tasks,
                generation=recipe.generation,
                completions_prefix=recipe.prefixes.get(recipe.completions_task, ""),
                relevance=recipe.rerank,
                aliases=recipe.aliases,
            )
        else:
            profile = cls(
                read_tasks(model.metadata) or {DEFAULT_TASK: Task()},
                _generation(model.metadata),
                relevance=_relevance(model.metadata),
            )
        limit = min(profile.generation.max_tokens, model.max_tokens)
        generation = msgspec.structs.replace(profile.generation, max_tokens=limit)
        return replace(profile, generation=generation)

    @classmethod
    def of_prefixes(cls, prefixes: Mapping[str, str], generation: GenerationDefaults) -> Self:
        """Builds a profile from prefixes by task name; without prefixes, from one plain task."""
        tasks = {name: Task.of_prefix(prefix) for name, prefix in prefixes.items()}
        return cls(tasks or {DEFAULT_TASK: Task()}, generation)

    @property
    def prefixes(self) -> dict[str, str]:
        """The text before a query, by task name."""
        return {name: task.prefix for name, task in self.tasks.items()}

    @property
    def templates(self) -> dict[str, str]:
        """The input of the encoder around its placeholders, by task name."""
        return {name: task.template for name, task in self.tasks.items()}

    @property
    def conversational_task(self) -> str | None:
        """The name of the first task that takes the earlier turns of a conversation."""
        return next((name for name, task in self.tasks.items() if task.takes_history), None)

    @property
    def separators(self) -> dict[str, str]:
        """The text between the queries of an answer, by the name of the task that has one."""
        return {name: task.separator for name, task in self.tasks.items() if task.separator}

    def task(self, name: str | None) -> Task:
        """Returns the task of this name, or the default task for None.

        Raises:
            InvalidRequest: the model has no such task.
        """
        if not self.tasks:
            raise InvalidRequest("this model has no tasks: it only reranks", param="task")
        name = next(iter(self.tasks)) if name is None else name
        if name not in self.tasks:
            names = ", ".join([*self.tasks, *self.aliases])
            raise InvalidRequest(
                f"this model has no task {excerpt(name)!r}; its tasks are: {names}", param="task"
            )
        return self.tasks[name]


def _relevance(metadata: Mapping[str, str]) -> Relevance | None:
    try:
        return read_relevance(metadata)
    except ValueError as error:
        logger.warning("ignored %s* of the file: %s", RERANK_KEY, error)
        return None


def _generation(metadata: Mapping[str, str]) -> GenerationDefaults:
    values = {
        key.removeprefix(GENERATION_KEY): text
        for key, text in metadata.items()
        if key.startswith(GENERATION_KEY)
    }
    try:
        return msgspec.convert(values, Generation, strict=False)
    except msgspec.ValidationError as error:
        logger.warning("ignored the generation defaults of the file: %s", error)
        return Generation()
