"""The interface of an engine in `t5bench.child`: token ids in, token ids out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypedDict


class Generated(NamedTuple):
    """Token ids, and the milliseconds within native code if the engine reports them."""

    tokens: list[int]
    native_ms: float | None = None


class Document(TypedDict):
    """An input to judge; engines of token ids take those."""

    text: str
    ids: list[int]


class Engine(Protocol):
    """A loaded model."""

    def generate(self, ids: Sequence[int], tokens: int, *, fixed: bool) -> Generated:
        """Decodes greedily: exactly `tokens` tokens, or, if not fixed, at most `tokens`."""
        ...

    def judge(self, documents: Sequence[Document], tokens: Sequence[int]) -> list[list[float]]:
        """Returns the logits of some tokens at the first step, for each document."""
        ...
