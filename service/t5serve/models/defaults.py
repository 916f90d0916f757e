"""Defaults of a model that an operator sets over those of its recipe or file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, create_model

from t5engine.decoding.parameters import MAX_TOKENS, PARAMETERS
from t5gguf.tasks import Preserved, Task
from t5serve.errors import InvalidRequest, StartupError
from t5serve.reformulation.options import Options, Strategy, decoding_of
from t5serve.reformulation.profile import Profile

MAX_N = 16


class ReformulationDefaults(BaseModel):
    """What a request gets that sets nothing else; None: as the recipe or the file says.

    The generation parameters come from the engine's table, as in requests and recipes.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    task: str | None = None
    """The task of a request that names none."""
    n: Annotated[int, Field(ge=1, le=MAX_N)] | None = None
    """The reformulations per query, of every task."""
    preserve: tuple[Preserved, ...] | None = None
    """The parts of a query that a reformulation must keep, of every task."""
    min_score: Annotated[float, Field(le=0, allow_inf_nan=False)] | None = None
    """The least score of a reformulation, of every task."""
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    """The most tokens of a reformulation."""
    strategy: Strategy | None = None
    """The strategy that `auto` selects."""

    def apply(self, profile: Profile, max_tokens: int) -> Profile:
        """Returns the profile with these defaults.

        Args:
            profile: the tasks and defaults of the recipe or of the file.
            max_tokens: the most tokens that the model decodes.

        Raises:
            StartupError: the model has no such task, or the parameters exclude each other.
        """
        given = {name: value for name, value in self if value is not None}
        task = given.pop("task", None)
        if task is not None and task not in profile.tasks:
            raise StartupError(
                f"defaults.task is {task!r}; the model's tasks are: {', '.join(profile.tasks)}"
            )
        of_tasks = {name: given.pop(name) for name in ("n", "preserve", "min_score") & given.keys()}
        if "preserve" in of_tasks:
            of_tasks["preserve"] = list(of_tasks["preserve"])
        names = sorted(profile.tasks, key=lambda name: name != task)  # a stable sort
        tasks = {name: _replace(profile.tasks[name], of_tasks) for name in names}
        limit = profile.generation.max_tokens if self.max_tokens is None else self.max_tokens
        given["max_tokens"] = min(limit, max_tokens)
        generation = msgspec.structs.replace(profile.generation, **given)
        changed = replace(profile, tasks=tasks, generation=generation)
        _check(changed)
        return changed


def _replace(task: Task, defaults: Mapping[str, Any]) -> Task:
    """Returns the task with other defaults; a document has nothing to preserve."""
    taken = {name: value for name, value in defaults.items() if name != "preserve"}
    return msgspec.structs.replace(task, **(taken if task.takes_document else defaults))


def _check(profile: Profile) -> None:
    """Refuses defaults with which a request that sets nothing would be refused."""
    for task in profile.tasks.values():
        try:
            decoding_of(Options.for_task(task), profile.generation)
        except InvalidRequest as error:
            raise StartupError(f"defaults: {error.message}") from error


def _parameter_fields() -> dict[str, Any]:
    """Returns an optional field per parameter that a recipe may set."""
    fields = {}
    for name, row in PARAMETERS.items():
        finite: dict[str, Any] = {"allow_inf_nan": False} if row.value_type is float else {}
        bounds = Field(**row.parameter.bounds, **finite)
        if row.parameter.in_recipes:
            fields[name] = (Annotated[row.value_type, bounds] | None, None)
    return fields


if TYPE_CHECKING:
    Defaults = ReformulationDefaults
else:
    Defaults = create_model(
        "Defaults",
        __base__=ReformulationDefaults,
        __doc__=ReformulationDefaults.__doc__,
        __module__=__name__,
        **_parameter_fields(),
    )
