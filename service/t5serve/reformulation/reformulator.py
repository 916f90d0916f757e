"""Reformulates queries with one model, and falls back to the query when that fails."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import JobError
from t5engine.messages import Generated, Timings
from t5engine.pool.engine import Engine
from t5gguf.tasks import Task
from t5serve.concurrency import gather, iterate_events
from t5serve.errors import (
    ERROR_RESPONSES,
    DeadlineExceeded,
    InputQuarantined,
    NotReady,
    NoUsableOutput,
    QueueFull,
    ServerFault,
    request_error,
)
from t5serve.reformulation.candidates import (
    Reformulation,
    Selection,
    UnchangedReason,
    leave_unchanged,
    original_candidate,
    select_candidates,
)
from t5serve.reformulation.english import English
from t5serve.reformulation.lexicon import EMPTY, Lexicon
from t5serve.reformulation.live_text import LivePieces, LiveText
from t5serve.reformulation.options import Options, decoding_of
from t5serve.reformulation.pieces import select_pieces
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.screening import reason_to_leave
from t5serve.reformulation.speller import Speller
from t5serve.reformulation.text import fold

# After these errors the original query is the result. Other errors are faults of the request.
FALLBACKS = (DeadlineExceeded, InputQuarantined, NotReady, QueueFull, ServerFault)
NO_TIME = Timings(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class QueryResult:
    """The result of one query.

    Attributes:
        fallback_reason: the error code, if the original query replaces the reformulations.
        queue_ms: the time that the query waited for a worker.
        completion_tokens: the decoded tokens, dropped candidates included.
    """

    original: str
    reformulations: list[Reformulation]
    fallback_reason: str | None = None
    unchanged_reason: UnchangedReason | None = None
    queue_ms: float = 0.0
    timings: Timings = NO_TIME
    prompt_tokens: int = 0
    completion_tokens: int = 0


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
Admit = Callable[[int, GenerationConfig, Options], None]
"""Raises a RequestError if this number of queries can not be accepted."""


@dataclass(frozen=True)
class _Call:
    """One request while it is processed."""

    queries: Sequence[str]
    params: Sequence[str]
    options: Options
    task: Task
    config: GenerationConfig
    deadline: float
    emit: Emit | None

    @property
    def is_live(self) -> bool:
        """Whether text can be emitted while it is decoded: nothing can replace it."""
        if self.options.leaves_alone and self.task.max_query_tokens is not None:
            return False  # the worker counts the query's tokens
        return self.emit is not None and self.config.width == 1 and not self.options.can_drop


class Reformulator:
    """Reformulates queries with one model.

    Args:
        engine: the engine that runs the model.
        profile: the model's tasks and generation defaults.
        admit: called before a request is decoded; raises an error to refuse the request.
    """

    def __init__(
        self,
        engine: Engine,
        profile: Profile,
        admit: Admit = lambda _queries, _config, _options: None,
        lexicon: Lexicon = EMPTY,
    ) -> None:
        self._engine = engine
        self._admit = admit
        self._lexicon = lexicon
        self._speller = Speller.of(lexicon) if lexicon else None
        self._english = English.load()
        self.profile = profile

    async def reformulate(
        self, queries: Sequence[str], options: Options, params: Sequence[str] | None = None
    ) -> list[QueryResult]:
        """Reformulates all queries within one deadline, in order.

        Args:
            queries: the queries, without a prefix.
            options: the options of the request.
            params: for errors, the name of the request field that holds each query. By default
                `query`, or `queries[0]`, `queries[1]` and so on.

        Raises:
            RequestError: an input is refused; if strict, also any error that would cause a
                fallback.
        """
        return await self._run(self._call(queries, options, params))

    async def stream(
        self, queries: Sequence[str], options: Options, params: Sequence[str] | None = None
    ) -> AsyncIterator[Event]:
        """Reformulates like `reformulate`, and yields events as soon as they are final.

        With a single candidate, text is emitted while it is decoded: of a list of queries, each
        query as soon as it is complete. With several candidates or constraints, text is emitted
        after the selection. `Finished` has the final result.

        Raises:
            RequestError: as for `reformulate`; some events may come before the error.
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
            indexed = [f"queries[{index}]" for index in range(len(queries))]
            params = ["query"] if len(queries) == 1 else indexed
        return _Call(
            queries=queries,
            params=params,
            options=options,
            task=self.profile.task(options.task),
            config=config,
            deadline=time.monotonic() + options.timeout_ms / 1000,
            emit=emit,
        )

    async def _run(self, call: _Call) -> list[QueryResult]:
        return await gather(self._reformulate(call, index) for index in range(len(call.queries)))

    async def _reformulate(self, call: _Call, index: int) -> QueryResult:
        """Reformulates one query, leaves it alone, or falls back to the query itself."""
        query = call.queries[index]
        try:
            reason = self._reason_to_leave(query, call)
            if reason is None:
                result = await self._decode(call, index)
            else:
                result = QueryResult(query, [original_candidate(query)], unchanged_reason=reason)
        except FALLBACKS as error:
            if call.options.strict:
                raise
            code = ERROR_RESPONSES[type(error)].code or "server_error"
            result = QueryResult(query, [original_candidate(query)], code)
        if call.emit is not None:
            call.emit(Finished(index, result))
        return result

    async def _decode(self, call: _Call, index: int) -> QueryResult:
        original = call.queries[index]
        query = original
        if self._speller is not None and call.task.corrects:
            query = self._speller.correct(original)
        live = _live_text(call, index)
        try:
            result = await self._engine.generate(
                call.config,
                text=call.task.render(query),
                timeout=call.deadline - time.monotonic(),
                on_progress=live,
            )
        except JobError as error:
            raise request_error(error, param=call.params[index]) from error
        generated = result.generated
        selection = self._select(call, query, generated)
        if fold(query) != fold(original):
            selection = _keep_corrected(query, selection)
        selected, fallback_reason = selection.reformulations, None
        if not selected:
            if call.options.strict:
                raise NoUsableOutput("the model gave no usable text for this query")
            selected = [original_candidate(original)]
            fallback_reason = ERROR_RESPONSES[NoUsableOutput].code
        elif call.emit is not None:
            for candidate in selected[live.sent if live else 0 :]:
                call.emit(TextDelta(index, candidate.rank, candidate.text))
        return QueryResult(
            original=original,
            reformulations=selected,
            fallback_reason=fallback_reason,
            unchanged_reason=selection.unchanged_reason,
            queue_ms=result.queue_ms,
            timings=generated.timings,
            prompt_tokens=generated.prompt_tokens,
            completion_tokens=generated.completion_tokens,
        )

    def _reason_to_leave(self, query: str, call: _Call) -> UnchangedReason | None:
        if not call.options.leaves_alone:
            return None
        return reason_to_leave(query, call.task, self._english)

    def _select(self, call: _Call, query: str, generated: Generated) -> Selection:
        limit = call.task.max_query_tokens if call.options.leaves_alone else None
        if limit is not None and generated.prompt_tokens > limit:
            return leave_unchanged(query, "too_long_to_rewrite")
        outputs = generated.outputs
        if call.config.do_sample:  # beams are sorted already
            outputs = sorted(outputs, key=lambda output: -output.score)
        select = select_pieces if call.options.separator else select_candidates
        return select(query, outputs, call.options, self._lexicon)


def _keep_corrected(query: str, selection: Selection) -> Selection:
    """Turns "unchanged" into a change: the speller changed the query, the model nothing more."""
    if selection.unchanged_reason is None and selection.reformulations:
        return selection
    kept = next(iter(selection.reformulations), original_candidate(query))
    return Selection([replace(kept, text=query, source="model")])


def _live_text(call: _Call, index: int) -> LiveText | LivePieces | None:
    """Returns what emits the text of a query while it is decoded; None if none may be."""
    emit = call.emit
    if emit is None or not call.is_live:
        return None

    def send(rank: int, text: str) -> None:
        emit(TextDelta(index, rank, text))

    if call.options.separator:
        return LivePieces(call.queries[index], call.options, send)
    return LiveText(send)
