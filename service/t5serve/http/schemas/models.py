"""GET /v1/models: what it gives."""

from __future__ import annotations

from typing import Literal

from t5serve.http.schemas.body import Described


class ModelBody(Described):
    """A model, as OpenAI describes one, and what else there is to know of it."""

    id: str
    """Its name: what `model` must be."""
    object: Literal["model"] = "model"
    """What kind of object this is."""
    created: int
    """When the service started, Unix time in seconds."""
    owned_by: str = "t5serve"
    """This service."""
    description: str
    """What it is."""
    tasks: dict[str, str]
    """What stands before a query, by the name of the task; the first is the default."""
    max_input_tokens: int
    """Most tokens of an input."""
    max_tokens: int
    """Most tokens of an output."""
    generation: dict[str, int | float | str]
    """How it wants to be decoded, where that is not the usual."""


class ModelList(Described):
    """All there are: one."""

    object: Literal["list"] = "list"
    """What kind of object this is."""
    data: list[ModelBody]
    """The model."""
