"""GET /healthz and /readyz: the bodies of their responses."""

from __future__ import annotations

from typing import Literal

from t5serve.http.schemas.body import DescribedBody
from t5serve.models.slot import State


class Alive(DescribedBody):
    """The process is alive."""

    status: Literal["ok"] = "ok"
    """The state of the process: always `ok`."""


class ModelState(DescribedBody):
    """The state of one model."""

    state: State
    """`ready`: a worker decodes. `unloaded`: the model is loaded on its next use. `failed`: it
    could not be loaded."""
    reason: str | None = None
    """Why the model could not be loaded; null unless it failed."""


class ReadyState(DescribedBody):
    """A worker is ready to decode."""

    status: Literal["ready"] = "ready"
    """The state of the service: always `ready`; other states are answered with status 503."""
    model: str
    """The name of the default model."""
    models: dict[str, ModelState]
    """The state of each model, by name."""
