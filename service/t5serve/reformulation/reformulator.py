"""A query in, reformulations out, or the query itself with the reason why."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import JobError
from t5engine.messages import Progress, Timings
from t5engine.pool.engine import Engine
from t5gguf.tasks import Task
from t5serve.concurrency import gather, iterate_events
from t5serve.errors import (
    ERROR_RESPONSES,
    DeadlineExceeded,
    NotReady,
    NoUsableOutput,
    QueueFull,
    ServerFault,
    request_error,
)
from t5serve.reformulation.candidates import Reformulation, original, select
from t5serve.reformulation.options import Options, decoding_of
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.text import clean

# The original stands in for a query that failed like this; any other error is the request's fault.
FALLBACKS = (DeadlineExceeded, NotReady, QueueFull, ServerFault)
NO_TIME = Timings(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Reformulated:
    """The result of one query; `completion_tokens` counts dropped candidates as well."""

    original: str
    reformulations: list[Reformulation]
    fallback_reason: str | None = None
    queue_ms: float = 0.0
    timings: Timings = NO_TIME
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class TextDelta:
    """More text of one of a query's reformulations, before they are complete."""

    query_index: int
    rank: int
    text: str


@dataclass(frozen=True)
class Finished:
    """A query that is done."""

    query_index: int
    result: Reformulated


Event = TextDelta | Finished
Emit = Callable[[Event], None]
Admit = Callable[[int, GenerationConfig, Options], None]
"""Raises the error that refuses so many queries."""


@dataclass(frozen=True)
class _Call:
    """One request on its way."""

    queries: Sequence[str]
    params: Sequence[str]
    options: Options
    task: Task
    config: GenerationConfig
    deadline: float
    emit: Emit | None

    @property
    def is_live(self) -> bool:
        """Whether text can be emitted while it is decoded: nothing can replace it later."""
        return self.emit is not None and self.config.width == 1 and not self.options.drops


class Reformulator:
    """Reformulates queries with one model.

    Args:
        engine: the engine that has the model.
        profile: the model's tasks and generation defaults.
        admit: called before a request is decoded.
    """

    def __init__(
        self,
        engine: Engine,
        profile: Profile,
        admit: Admit = lambda _queries, _config, _options: None,
    ) -> None:
        self._engine = engine
        self._admit = admit
        self.profile = profile

    async def reformulate(
        self, queries: Sequence[str], options: Options, params: Sequence[str] | None = None
    ) -> list[Reformulated]:
        """Reformulates all queries within one deadline, in order.

        Args:
            queries: without a prefix.
            options: what the request asks of each query.
            params: the request's field that holds each query, for errors; by default `query`, or
                `queries[0]`, `queries[1]` and so on.

        Raises:
            RequestError: an input is refused; if strict, also whatever kept a query from being
                reformulated.
        """
        return await self._run(self._call(queries, options, params))

    async def stream(
        self, queries: Sequence[str], options: Options, params: Sequence[str] | None = None
    ) -> AsyncIterator[Event]:
        """Reformulates like `reformulate`, and yields events as soon as they are settled.

        Text comes while it is decoded where nothing can replace it, else once a query's
        candidates have been chosen. `Finished` has the final result.

        Raises:
            RequestError: as above, maybe after some events.
        """

        def work(emit: Emit) -> Coroutine[Any, Any, object]:
            return self._run(self._call(queries, options, params, emit))

        async for event in iterate_events(work):
            yield event

    def _call(
        self,
        queries: Sequence[str],
        options: Options,
        params: Sequence[str] | None,
        emit: Emit | None = None,
    ) -> _Call:
        config = decoding_of(options, self.profile.generation)
        self._admit(len(queries), config, options)
        if params is None:
            several = [f"queries[{index}]" for index in range(len(queries))]
            params = ["query"] if len(queries) == 1 else several
        return _Call(
            queries=queries,
            params=params,
            options=options,
            task=self.profile.task(options.task),
            config=config,
            deadline=time.monotonic() + options.timeout_ms / 1000,
            emit=emit,
        )

    async def _run(self, call: _Call) -> list[Reformulated]:
        return await gather(self._reformulate(call, index) for index in range(len(call.queries)))

    async def _reformulate(self, call: _Call, index: int) -> Reformulated:
        """Reformulates one query, or falls back to it."""
        try:
            result = await self._decode(call, index)
        except FALLBACKS as error:
            if call.options.strict:
                raise
            query = call.queries[index]
            reason = ERROR_RESPONSES[type(error)].code or "server_error"
            result = Reformulated(query, [original(query)], reason)
        if call.emit is not None:
            call.emit(Finished(index, result))
        return result

    async def _decode(self, call: _Call, index: int) -> Reformulated:
        query = call.queries[index]
        try:
            result = await self._engine.generate(
                call.config,
                text=call.task.render(query),
                timeout=call.deadline - time.monotonic(),
                on_progress=_LiveText(index, call.emit) if call.emit and call.is_live else None,
            )
        except JobError as error:
            raise request_error(error, param=call.params[index]) from error
        generated = result.generated
        outputs = generated.outputs
        if call.config.do_sample:  # beams come in their order
            outputs = sorted(outputs, key=lambda output: -output.score)
        selected = select(query, outputs, call.options)
        reason = None
        if all(candidate.source == "original" for candidate in selected):
            if call.options.strict:
                raise NoUsableOutput("the model gave no usable text for this query")
            selected, reason = [original(query)], ERROR_RESPONSES[NoUsableOutput].code
        elif call.emit is not None and not call.is_live:
            for candidate in selected:
                call.emit(TextDelta(index, candidate.rank, candidate.text))
        return Reformulated(
            original=query,
            reformulations=selected,
            fallback_reason=reason,
            queue_ms=result.queue_ms,
            timings=generated.timings,
            prompt_tokens=generated.prompt_tokens,
            completion_tokens=generated.completion_tokens,
        )


class _LiveText:
    """Emits a query's text as it is settled, cleaned as it will be in the end."""

    def __init__(self, index: int, emit: Emit) -> None:
        self._index = index
        self._emit = emit
        self._text = ""

    def __call__(self, progress: Progress) -> None:
        sent = clean(self._text)
        self._text += progress.text
        delta = clean(self._text)[len(sent) :]
        if delta:
            self._emit(TextDelta(self._index, 1, delta))
