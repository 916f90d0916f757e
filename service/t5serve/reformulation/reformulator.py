"""Reformulates queries with one model, and falls back to the query when that fails."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import JobError
from t5engine.pool.result import Result
from t5gguf.tasks import EncoderInput, Task
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
    Selection,
    UnchangedReason,
    original_candidate,
)
from t5serve.reformulation.content_words import is_keywords
from t5serve.reformulation.corrector import Corrector
from t5serve.reformulation.english import English
from t5serve.reformulation.generator import Admission, CachedGenerator, Generator
from t5serve.reformulation.lexicon import EMPTY, Lexicon
from t5serve.reformulation.live_text import LivePieces, LiveText, start_live_text
from t5serve.reformulation.options import Options, searches_of
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.results import (
    NO_TIME,
    Emit,
    Event,
    Finished,
    QueryResult,
    TextDelta,
)
from t5serve.reformulation.screening import reason_to_leave
from t5serve.reformulation.selector import Decoded, Selector

# After these errors the original query is the result. Other errors are faults of the request.
FALLBACKS = (DeadlineExceeded, InputQuarantined, NotReady, QueueFull, ServerFault)
NOTHING = Selection([])
# Of a greedy sequence, per token. Of 500 answers above, beams changed one; of 127 below, 24.
SURE_SCORE = -0.1


@dataclass(frozen=True)
class _Call:
    """One query of a request while it is processed.

    Attributes:
        index: the place of the query in the request.
        param: the name of the request field that holds the query.
        searches: the decoding parameters, in the order in which they are tried; the last has the
            most sequences.
    """

    query: str
    index: int
    param: str
    options: Options
    task: Task
    searches: tuple[GenerationConfig, ...]
    deadline: float
    emit: Emit | None

    @property
    def is_live(self) -> bool:
        """Whether text can be emitted while it is decoded: nothing can replace it."""
        if self.options.leaves_alone and self.task.max_query_tokens is not None:
            return False  # the worker counts the query's tokens
        return self.emit is not None and self.searches[-1].width == 1 and not self.options.can_drop


class Reformulator:
    """Reformulates queries with one model.

    Args:
        engine: the engine that runs the model.
        profile: the model's tasks and generation defaults.
        admission: decides which requests are accepted; None: all are.
        lexicon: words that are spelled rightly, whatever they look like.
        cached: decodes requests that take results of others; None: the engine decodes all.
    """

    def __init__(
        self,
        engine: Generator,
        profile: Profile,
        admission: Admission | None = None,
        lexicon: Lexicon = EMPTY,
        cached: CachedGenerator | None = None,
    ) -> None:
        self._engine = engine
        self._admission = admission
        self._cached = cached
        self._selector = Selector(lexicon, None if cached is None else cached.cache)
        self._corrector = Corrector(lexicon)
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
        return await self._run(self._calls(queries, options, params))

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
            return self._run(self._calls(queries, options, params, emit))

        async for event in iterate_events(work):
            yield event

    def _calls(
        self,
        queries: Sequence[str],
        options: Options,
        params: Sequence[str] | None,
        emit: Emit | None = None,
    ) -> list[_Call]:
        if params is None:
            indexed = [f"queries[{index}]" for index in range(len(queries))]
            params = ["query"] if len(queries) == 1 else indexed
        deadline = time.monotonic() + options.timeout_ms / 1000
        usual = self._plan(options)
        for_keywords = self._plan(options.for_keywords) if options.for_keywords else usual
        calls = []
        for index, (query, param) in enumerate(zip(queries, params, strict=True)):
            plan = for_keywords if options.for_keywords and is_keywords(query) else usual
            calls.append(_Call(query, index, param, *plan, deadline, emit))
        self._admit(calls)
        return calls

    def _plan(self, options: Options) -> tuple[Options, Task, tuple[GenerationConfig, ...]]:
        """Returns the options, with the task and the searches that follow from them."""
        searches = searches_of(options, self.profile.generation)
        return options, self.profile.task(options.task), searches

    def _admit(self, calls: Sequence[_Call]) -> None:
        """Refuses a request that is too large, or that has no room and may not fall back."""
        if self._admission is None or not calls:
            return
        widest = max((call.searches[-1] for call in calls), key=lambda config: config.width)
        self._admission.check_budget(len(calls), widest, param="queries")
        if calls[0].options.strict:
            self._admission.check_room(
                len(calls), widest, lambda: sum(not self._has_result(call) for call in calls)
            )

    def _has_result(self, call: _Call) -> bool:
        """Whether a query needs no place in the queue."""
        if self._cached is None or not call.options.cache:
            return False
        text, cut = call.task.fill(self._read(call), call.options.history)
        return self._cached.has_result(call.searches[0], text=text, cut=cut)

    def fill(self, query: str, task: Task) -> EncoderInput:
        """Returns the model's input for a query by itself, which is corrected first."""
        return task.fill(self._corrector.correct(query, task))

    def _read(self, call: _Call) -> str:
        """Returns the query as the model reads it; with guards off, only a task corrects it."""
        is_left_to_model = not (call.options.leaves_alone or call.task.corrects)
        return call.query if is_left_to_model else self._corrector.correct(call.query, call.task)

    async def _run(self, calls: Sequence[_Call]) -> list[QueryResult]:
        return await gather(self._reformulate(call) for call in calls)

    async def _reformulate(self, call: _Call) -> QueryResult:
        """Reformulates one query, leaves it alone, or falls back to the query itself."""
        query = call.query
        try:
            reason = self._reason_to_leave(call)
            if reason is None:
                result = await self._decode(call)
            else:
                result = QueryResult(query, [original_candidate(query)], unchanged_reason=reason)
        except FALLBACKS as error:
            if call.options.strict:
                raise
            code = ERROR_RESPONSES[type(error)].code or "server_error"
            result = QueryResult(query, [original_candidate(query)], code)
        if call.emit is not None:
            call.emit(Finished(call.index, result))
        return result

    async def _decode(self, call: _Call) -> QueryResult:
        """Decodes a query and selects reformulations, with beams if a greedy search won't do."""
        original, query = call.query, self._read(call)
        live = _live_text(call) if query == original else None
        results: list[Result] = []
        selection = NOTHING
        for config in call.searches:
            try:
                results.append(await self._generate(query, call, config, live))
            except FALLBACKS:
                if selection.reformulations:
                    break  # what the search before it has found
                raise
            decoded = Decoded(original, query, config, results[-1])
            selection = self._selector.select(decoded, call.options, call.task)
            if _is_sure(selection):
                break
        selected, fallback_reason = selection.reformulations, None
        if not selected:
            if call.options.strict:
                raise NoUsableOutput("the model gave no usable text for this query")
            selected = [original_candidate(original)]
            fallback_reason = ERROR_RESPONSES[NoUsableOutput].code
        elif call.emit is not None:
            for candidate in selected[live.sent if live else 0 :]:
                call.emit(TextDelta(call.index, candidate.rank, candidate.text))
        generated = [result.generated for result in results]
        return QueryResult(
            original=original,
            reformulations=selected,
            fallback_reason=fallback_reason,
            unchanged_reason=selection.unchanged_reason,
            queue_ms=sum(result.queue_ms for result in results),
            timings=sum((one.timings for one in generated), NO_TIME),
            prompt_tokens=generated[0].prompt_tokens,
            completion_tokens=sum(one.completion_tokens for one in generated),
            cached=all(result.cached for result in results),
        )

    async def _generate(
        self, query: str, call: _Call, config: GenerationConfig, live: LiveText | LivePieces | None
    ) -> Result:
        text, cut = call.task.fill(query, call.options.history)
        try:
            return await self._generator(call.options).generate(
                config,
                text=text,
                cut=cut,
                timeout=call.deadline - time.monotonic(),
                on_progress=live,
            )
        except JobError as error:
            raise request_error(error, param=call.param) from error

    def _generator(self, options: Options) -> Generator:
        return self._cached if self._cached is not None and options.cache else self._engine

    def _reason_to_leave(self, call: _Call) -> UnchangedReason | None:
        if not call.options.leaves_alone or call.task.takes_document:
            return None
        return reason_to_leave(call.query, call.task, self._english)


def _is_sure(selection: Selection) -> bool:
    """Whether beams would hardly find another answer than a greedy search has found."""
    if selection.unchanged_reason == "guard":
        return False
    scores = [one.score for one in selection.reformulations]
    return bool(scores) and all(score is not None and score >= SURE_SCORE for score in scores)


def _live_text(call: _Call) -> LiveText | LivePieces | None:
    """Returns what emits the text of a query while it is decoded; None if none may be."""
    emit = call.emit
    if emit is None or not call.is_live:
        return None
    return start_live_text(
        "" if call.task.takes_document else call.query,
        call.options,
        lambda rank, text: emit(TextDelta(call.index, rank, text)),
    )
