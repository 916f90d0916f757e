"""POST /admin/reload: the body of its response."""

from __future__ import annotations

from typing import Literal

from t5serve.http.schemas.body import DescribedBody


class ReloadResponse(DescribedBody):
    """What a reload did, by the names of models."""

    status: Literal["reloaded"] = "reloaded"
    """The outcome: always `reloaded`; a reload with a fault is answered with status 422."""
    added: list[str]
    """Models that are new."""
    changed: list[str]
    """Models that were replaced, or that have another lexicon."""
    removed: list[str]
    """Models that are not served any more."""
    unchanged: list[str]
    """Models that were left as they were."""
