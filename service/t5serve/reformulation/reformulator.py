"""A query in, reformulations out, or the query itself with the reason why."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from t5serve.decoding.config import GenerationConfig
from t5serve.engine.engine import Engine
from t5serve.errors import (
    ANSWERS,
    DeadlineExceeded,
    NotReady,
    NoUsableOutput,
    QueueFull,
    RequestError,
    ServerFault,
)
from t5serve.reformulation.candidates import Reformulation, original, select
from t5serve.reformulation.options import Options, decoding_of
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.text import clean
from t5serve.tasks import as_told, together
from t5serve.wire import Progress, Timings

# What the original stands in for; anything else is the request's own fault.
FALLBACKS = (DeadlineExceeded, NotReady, QueueFull, ServerFault)
NO_TIME = Timings(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Reformulated:
    """What became of one query; `completion_tokens` counts dropped candidates as well."""

    original: str
    reformulations: list[Reformulation]
    fallback_reason: str | None = None
    queue_ms: float = 0.0
    timings: Timings = NO_TIME
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Piece:
    """More text of one of a query's reformulations, before they are complete."""

    query_index: int
    rank: int
    text: str


@dataclass(frozen=True)
class Finished:
    """A query that is done."""

    query_index: int
    result: Reformulated


Event = Piece | Finished


@dataclass(frozen=True)
class _Call:
    """One request on its way."""

    queries: Sequence[str]
    options: Options
    prefix: str
    config: GenerationConfig
    deadline: float
    tell: Callable[[Event], None] | None

    @property
    def is_live(self) -> bool:
        """Whether text can be told while it is decoded: nothing can take its place."""
        return self.tell is not None and self.config.width == 1 and not self.options.drops


class Reformulator:
    """Reformulates queries with one model.

    Args:
        engine: that has the model.
        profile: how the model wants to be used.
        admit: told how many queries are to be decoded in which way; raises what refuses them.
    """

    def __init__(
        self,
        engine: Engine,
        profile: Profile,
        admit: Callable[[int, GenerationConfig], None] = lambda _queries, _config: None,
    ) -> None:
        self._engine = engine
        self._admit = admit
        self.profile = profile

    async def reformulate(self, queries: Sequence[str], options: Options) -> list[Reformulated]:
        """Reformulates all queries within one deadline, in order.

        Raises:
            RequestError: an input that can't be taken; if strict, whatever kept a query from
                being reformulated.
        """
        return await self._all(self._call(queries, options))

    async def stream(self, queries: Sequence[str], options: Options) -> AsyncIterator[Event]:
        """Likewise, telling what there is as soon as it is there.

        Text comes while it is decoded where nothing can take its place, else once a query's
        candidates have been chosen. `Finished` says what counts in the end.

        Raises:
            RequestError: as above, maybe after some events.
        """

        def work(tell: Callable[[Event], None]) -> Coroutine[Any, Any, object]:
            return self._all(self._call(queries, options, tell))

        async for event in as_told(work):
            yield event

    def _call(
        self,
        queries: Sequence[str],
        options: Options,
        tell: Callable[[Event], None] | None = None,
    ) -> _Call:
        config = decoding_of(options, self.profile.generation)
        self._admit(len(queries), config)
        return _Call(
            queries=queries,
            options=options,
            prefix=self.profile.prefix(options.task),
            config=config,
            deadline=time.monotonic() + options.timeout_ms / 1000,
            tell=tell,
        )

    async def _all(self, call: _Call) -> list[Reformulated]:
        return await together(self._one(call, index) for index in range(len(call.queries)))

    async def _one(self, call: _Call, index: int) -> Reformulated:
        """One query, or what stands in for it."""
        query = call.queries[index]
        try:
            result = await self._decode(call, index)
        except FALLBACKS as error:
            if call.options.strict:
                raise
            reason = ANSWERS[type(error)].code or "server_error"
            result = Reformulated(query, [original(query)], reason)
        except RequestError as error:
            error.param = "query" if len(call.queries) == 1 else f"queries[{index}]"
            raise
        if call.tell is not None:
            call.tell(Finished(index, result))
        return result

    async def _decode(self, call: _Call, index: int) -> Reformulated:
        query = call.queries[index]
        result = await self._engine.generate(
            call.config,
            text=call.prefix + query,
            timeout=call.deadline - time.monotonic(),
            on_progress=_Live(index, call.tell) if call.tell and call.is_live else None,
        )
        generated = result.generated
        outputs = generated.outputs
        if call.config.do_sample:  # beams come in their order
            outputs = sorted(outputs, key=lambda output: -output.score)
        chosen = select(query, outputs, call.options)
        reason = None
        if all(one.source == "original" for one in chosen):
            if call.options.strict:
                raise NoUsableOutput("the model gave no usable text for this query")
            chosen, reason = [original(query)], ANSWERS[NoUsableOutput].code
        elif call.tell is not None and not call.is_live:
            for one in chosen:
                call.tell(Piece(index, one.rank, one.text))
        return Reformulated(
            original=query,
            reformulations=chosen,
            fallback_reason=reason,
            queue_ms=result.queue_ms,
            timings=generated.timings,
            prompt_tokens=generated.prompt_tokens,
            completion_tokens=generated.completion_tokens,
        )


class _Live:
    """Tells a query's text as it is settled, cleaned as it will be in the end."""

    def __init__(self, index: int, tell: Callable[[Event], None]) -> None:
        self._index = index
        self._tell = tell
        self._text = ""

    def __call__(self, progress: Progress) -> None:
        before = clean(self._text)
        self._text += progress.text
        news = clean(self._text)[len(before) :]
        if news:
            self._tell(Piece(self._index, 1, news))
