"""How a model wants to be used: its tasks with their prefixes, its generation defaults."""

from __future__ import annotations

from dataclasses import dataclass

from t5gguf.recipe import Recipe
from t5serve.errors import InvalidRequest
from t5serve.wire import ModelInfo

DEFAULT_TASK = "reformulate"
DEFAULT_MAX_TOKENS = 64


@dataclass(frozen=True)
class Profile:
    """Tasks in order, the first being the default; each with the prefix of its inputs."""

    tasks: dict[str, str]
    max_tokens: int

    @classmethod
    def of(cls, model: ModelInfo, recipe: Recipe | None) -> Profile:
        """From the recipe that named the model, else from what the file says of itself."""
        if recipe is not None:
            tasks, wanted = recipe.tasks, recipe.generation.max_tokens
        else:
            names = [name for name in model.metadata.get("t5serve.tasks", "").split(",") if name]
            tasks = {name: model.metadata.get(f"t5serve.prefix.{name}", "") for name in names}
            wanted = int(model.metadata.get("t5serve.generation.max_tokens", DEFAULT_MAX_TOKENS))
        return cls(tasks or {DEFAULT_TASK: ""}, min(wanted, model.max_tokens))

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
