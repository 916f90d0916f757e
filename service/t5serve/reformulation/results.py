"""The result of a query, and the events of a stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from t5engine.messages import Timings
from t5serve.reformulation.candidates import Reformulation, UnchangedReason

NO_TIME = Timings(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class QueryResult:
    """The result of one query.

    Attributes:
        fallback_reason: the error code, if the original query replaces the reformulations.
        queue_ms: the time that the query waited for a worker.
        completion_tokens: the decoded tokens, dropped candidates included.
        cached: whether nothing was decoded for this query: the model's answer was known.
    """

    original: str
    reformulations: list[Reformulation]
    fallback_reason: str | None = None
    unchanged_reason: UnchangedReason | None = None
    queue_ms: float = 0.0
    timings: Timings = NO_TIME
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False


@dataclass(frozen=True)
class TextDelta:
    """The next part of a reformulation's text, before the result is complete."""

    query_index: int
    rank: int
    text: str


@dataclass(frozen=True)
class Finished:
    """The final result of one query."""

    query_index: int
    result: QueryResult


Event = TextDelta | Finished
Emit = Callable[[Event], None]
