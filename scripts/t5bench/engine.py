"""What each contestant's process does: token ids in, token ids out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Generated(NamedTuple):
    """Token ids, and the milliseconds within native code, of an engine that knows them."""

    tokens: list[int]
    native_ms: float | None = None


class Engine(Protocol):
    """A model that is loaded."""

    def generate(self, ids: Sequence[int], tokens: int, *, fixed: bool) -> Generated:
        """Decodes greedily: exactly so many tokens, or, if not fixed, at most so many."""
        ...
