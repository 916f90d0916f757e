"""GET /healthz and /readyz: what they give."""

from __future__ import annotations

from typing import Literal

from t5serve.http.schemas.body import Described


class Alive(Described):
    """The process lives."""

    status: Literal["ok"] = "ok"
    """Other states are errors."""


class ReadyState(Described):
    """A model decodes."""

    status: Literal["ready"] = "ready"
    """Other states are errors."""
    model: str
    """Its name."""
