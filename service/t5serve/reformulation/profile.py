"""How a model wants to be used: its tasks and its generation defaults."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import msgspec

from t5engine.messages import ModelInfo
from t5gguf.recipe import Generation, GenerationDefaults, Recipe
from t5gguf.tasks import Task
from t5serve.errors import InvalidRequest

logger = logging.getLogger(__name__)

DEFAULT_TASK = "reformulate"
PREFIX_KEY = "t5serve.prefix."
GENERATION_KEY = "t5serve.generation."


@dataclass(frozen=True)
class Profile:
    """A model's tasks and defaults.

    Attributes:
        tasks: by name; the first is the default.
        generation: what a request gets that asks for nothing else.
        completions_prefix: stands before every prompt of the completions route.
    """

    tasks: Mapping[str, Task]
    generation: GenerationDefaults
    completions_prefix: str = ""

    @classmethod
    def of(cls, model: ModelInfo, recipe: Recipe | None) -> Self:
        """Reads the recipe that named the model, or else the file's own keys."""
        if recipe is not None:
            profile = cls(
                tasks=recipe.tasks,
                generation=recipe.generation,
                completions_prefix=recipe.prefixes.get(recipe.completions_task, ""),
            )
        else:
            names = [name for name in model.metadata.get("t5serve.tasks", "").split(",") if name]
            prefixes = {name: model.metadata.get(PREFIX_KEY + name, "") for name in names}
            profile = cls.of_prefixes(prefixes, _generation(model.metadata))
        limit = min(profile.generation.max_tokens, model.max_tokens)
        generation = msgspec.structs.replace(profile.generation, max_tokens=limit)
        return cls(profile.tasks, generation, profile.completions_prefix)

    @classmethod
    def of_prefixes(cls, prefixes: Mapping[str, str], generation: GenerationDefaults) -> Self:
        """The profile of a model whose tasks are prefixes; without any, queries are as they are."""
        tasks = {name: Task.of_prefix(prefix) for name, prefix in prefixes.items()}
        return cls(tasks or {DEFAULT_TASK: Task()}, generation)

    @property
    def prefixes(self) -> dict[str, str]:
        """The text before a query, by the name of the task."""
        return {name: task.prefix for name, task in self.tasks.items()}

    def task(self, name: str | None) -> Task:
        """The task of this name; the default one for None.

        Raises:
            InvalidRequest: the model has no such task.
        """
        name = next(iter(self.tasks)) if name is None else name
        if name not in self.tasks:
            raise InvalidRequest(
                f"this model has no task {name!r}; it has: {', '.join(self.tasks)}", param="task"
            )
        return self.tasks[name]


def _generation(metadata: Mapping[str, str]) -> GenerationDefaults:
    values = {
        key.removeprefix(GENERATION_KEY): text
        for key, text in metadata.items()
        if key.startswith(GENERATION_KEY)
    }
    try:
        return msgspec.convert(values, Generation, strict=False)
    except msgspec.ValidationError as error:
        logger.warning("the file's generation defaults are not used: %s", error)
        return Generation()
