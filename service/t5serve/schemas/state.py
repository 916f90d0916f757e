"""GET /healthz and /readyz: what they give."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Alive(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


class ReadyState(BaseModel):
    """A model decodes."""

    status: Literal["ready"] = "ready"
    model: str
