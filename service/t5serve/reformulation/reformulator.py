"""A query in, reformulations out, or the query itself with the reason why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from t5serve.engine.engine import Engine, Result
from t5serve.errors import (
    ANSWERS,
    DeadlineExceeded,
    NotReady,
    NoUsableOutput,
    QueueFull,
    RequestError,
    ServerFault,
)
from t5serve.reformulation.profile import Profile
from t5serve.wire import Timings

# What the original stands in for; anything else is the request's own fault.
FALLBACKS = (DeadlineExceeded, NotReady, QueueFull, ServerFault)


@dataclass(frozen=True)
class Options:
    """What one request asks of every query in it."""

    task: str | None = None
    max_tokens: int | None = None
    strict: bool = False
    timeout_ms: int = 10_000


@dataclass(frozen=True)
class Reformulation:
    """One candidate; score is its length-normalised log-probability, None for the original."""

    text: str
    score: float | None
    rank: int
    tokens: int
    source: Literal["model", "original"]


@dataclass(frozen=True)
class Reformulated:
    """What became of one query."""

    original: str
    reformulations: list[Reformulation]
    fallback_reason: str | None
    queue_ms: float
    timings: Timings
    prompt_tokens: int

    @property
    def completion_tokens(self) -> int:
        return sum(one.tokens for one in self.reformulations if one.source == "model")


class Reformulator:
    """Reformulates queries with one model."""

    def __init__(self, engine: Engine, profile: Profile) -> None:
        self._engine = engine
        self.profile = profile

    async def reformulate(self, queries: Sequence[str], options: Options) -> list[Reformulated]:
        """Reformulates all queries within one deadline, in order.

        Raises:
            RequestError: an input that can't be taken; if strict, whatever kept a query from
                being reformulated.
        """
        deadline = time.monotonic() + options.timeout_ms / 1000
        prefix = self.profile.prefix(options.task)
        tasks: list[asyncio.Task[Reformulated]] = []
        try:
            async with asyncio.TaskGroup() as group:
                for index, query in enumerate(queries):
                    one = self._one(prefix, query, index, len(queries), deadline, options)
                    tasks.append(group.create_task(one))
        except BaseExceptionGroup as group:  # not except*: until 3.11.4 it wraps what it raises
            raise _first(group) from None
        return [task.result() for task in tasks]

    async def _one(
        self, prefix: str, query: str, index: int, count: int, deadline: float, options: Options
    ) -> Reformulated:
        try:
            result = await self._engine.generate(
                text=prefix + query,
                max_tokens=options.max_tokens or self.profile.max_tokens,
                timeout=deadline - time.monotonic(),
            )
            return _settle(query, result)
        except FALLBACKS as error:
            if options.strict:
                raise
            return _fall_back(query, ANSWERS[type(error)].code or "server_error")
        except RequestError as error:
            error.param = "query" if count == 1 else f"queries[{index}]"
            raise


def clean(text: str) -> str:
    """Single spaces, none at the ends."""
    return " ".join(text.split())


def _settle(query: str, result: Result) -> Reformulated:
    generated = result.generated
    text = clean(generated.text)
    if not text:
        raise NoUsableOutput("the model gave no text for this query")
    one = Reformulation(
        text=text,
        score=generated.logprob / generated.decoded,
        rank=1,
        tokens=len(generated.tokens),
        source="model",
    )
    return Reformulated(
        query, [one], None, result.queue_ms, generated.timings, generated.prompt_tokens
    )


def _fall_back(query: str, reason: str) -> Reformulated:
    original = Reformulation(query, None, 1, 0, "original")
    return Reformulated(query, [original], reason, 0.0, Timings(0.0, 0.0, 0.0), 0)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
