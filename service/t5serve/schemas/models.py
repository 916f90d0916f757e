"""GET /v1/models: what it gives."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class ModelBody(BaseModel):
    """A model, as OpenAI describes one, and what else there is to know of it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "t5serve"
    description: str
    tasks: dict[str, str]
    max_input_tokens: int
    max_tokens: int
    generation: dict[str, int | float | str]


class ModelList(BaseModel):
    """All there are: one."""

    object: Literal["list"] = "list"
    data: list[ModelBody]
