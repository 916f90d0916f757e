"""How a model wants to be used: its tasks with their prefixes, its generation defaults."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import msgspec

from t5engine.messages import ModelInfo
from t5gguf.recipe import Generation, Recipe
from t5serve.errors import InvalidRequest

logger = logging.getLogger(__name__)

DEFAULT_TASK = "reformulate"
PREFIX = "t5serve.prefix."
GENERATION = "t5serve.generation."


@dataclass(frozen=True)
class Profile:
    """Tasks in order, the first being the default, each with the prefix of its inputs."""

    tasks: dict[str, str]
    generation: Generation
    completions_prefix: str = ""
    """Stands before every prompt of the completions route."""

    @classmethod
    def of(cls, model: ModelInfo, recipe: Recipe | None) -> Profile:
        """From the recipe that named the model, else from what the file says of itself."""
        completions_prefix = ""
        if recipe is not None:
            tasks, generation = recipe.tasks, recipe.generation
            completions_prefix = tasks.get(recipe.completions_task, "")
        else:
            names = [name for name in model.metadata.get("t5serve.tasks", "").split(",") if name]
            tasks = {name: model.metadata.get(PREFIX + name, "") for name in names}
            generation = _generation(model.metadata)
        most = min(generation.max_tokens, model.max_tokens)
        return cls(
            tasks or {DEFAULT_TASK: ""},
            msgspec.structs.replace(generation, max_tokens=most),
            completions_prefix,
        )

    def prefix(self, task: str | None) -> str:
        """The prefix of a task; of the default one without a name.

        Raises:
            InvalidRequest: the model has no such task.
        """
        name = next(iter(self.tasks)) if task is None else task
        if name not in self.tasks:
            raise InvalidRequest(
                f"this model has no task {name!r}; it has: {', '.join(self.tasks)}", param="task"
            )
        return self.tasks[name]


def _generation(metadata: dict[str, str]) -> Generation:
    texts = {
        key.removeprefix(GENERATION): text
        for key, text in metadata.items()
        if key.startswith(GENERATION)
    }
    try:
        return msgspec.convert(texts, Generation, strict=False)
    except msgspec.ValidationError as error:
        logger.warning("the file's generation defaults are not used: %s", error)
        return Generation()
