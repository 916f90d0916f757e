"""GET /healthz and /readyz: the bodies of their responses."""

from __future__ import annotations

from typing import Literal

from t5serve.http.schemas.body import DescribedBody


class Alive(DescribedBody):
    """The process is alive."""

    status: Literal["ok"] = "ok"
    """The state of the process: always `ok`."""


class ReadyState(DescribedBody):
    """A worker is ready to decode."""

    status: Literal["ready"] = "ready"
    """The state of the model: always `ready`; other states are answered with status 503."""
    model: str
    """The name of the model."""
