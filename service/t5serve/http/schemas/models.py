"""GET /v1/models: the bodies of its responses."""

from __future__ import annotations

from typing import Literal

from t5serve.http.schemas.body import MAX_N, DescribedBody
from t5serve.models.slot import State


class AliasBody(DescribedBody):
    """The tasks that a further name stands for, by the form of the query."""

    questions: str
    """The task for questions and requests."""
    keywords: str
    """The task for queries of keywords."""


class ModelBody(DescribedBody):
    """A model, in OpenAI's format, with its tasks, limits and defaults."""

    id: str
    """The name of the model; the value of `model` in requests."""
    object: Literal["model"] = "model"
    """The type of this object."""
    created: int
    """The start time of the service, as Unix time in seconds."""
    owned_by: str = "t5serve"
    """The owner of the model: always this service."""
    state: State
    """The state of the model, as in /readyz. A model that is `unloaded` is loaded on its next
    use."""
    failure: str | None = None
    """Why the model could not be loaded; null unless it failed."""
    description: str
    """A description of the model: file, backend and kernels. Of a model that is being loaded for
    the first time, or that failed, this field and those below are empty."""
    tasks: dict[str, str]
    """The prefix of each task, by the name of the task. A request sends such a name in `task`; the
    first task is the default."""
    aliases: dict[str, AliasBody]
    """More values of `task`, such as `expand`, with the tasks that each runs."""
    n: dict[str, int]
    """The value of `n` in requests that do not set it, by task name."""
    max_n: int = MAX_N
    """The largest value of `n`."""
    templates: dict[str, str]
    """The whole input of each task, with `{query}` or `{document}` in place of the text of the
    request, and `{history}` in place of earlier turns."""
    separators: dict[str, str]
    """The tasks whose answer is a list of queries, each with the text that separates two queries in
    the model's output. Only /v1/completions returns this text."""
    reranks: bool
    """Whether the model takes part in /v1/rerank."""
    max_input_tokens: int
    """The most tokens of an input."""
    max_tokens: int
    """The most tokens of an output."""
    generation: dict[str, int | float | str]
    """The generation defaults of the model, where they differ from the usual defaults."""


class ModelList(DescribedBody):
    """The list of the models that are served."""

    object: Literal["list"] = "list"
    """The type of this object."""
    data: list[ModelBody]
    """The models."""
