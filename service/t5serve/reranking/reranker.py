"""Orders documents by their relevance for a query, with one model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from t5engine.concurrency import map_concurrently
from t5engine.errors import DeadlineExceeded, EngineNotReady, InputTooLong, JobError, QueueFull
from t5engine.messages import Cut, Judged
from t5engine.pool.engine import Engine
from t5engine.relevance import Relevance, compute_relevance
from t5serve.errors import RequestError, request_error

PAUSE_SECONDS = 0.02  # between looks at an engine that starts a worker anew


class Judging(Protocol):
    """Judges texts."""

    async def judge(
        self,
        text: str,
        positive: int | str,
        negative: int | str,
        *,
        cut: Cut | None = None,
        timeout: float,  # noqa: ASYNC109 - as of the engine
    ) -> Judged:
        """Returns the logits of two tokens at the first step; see `t5engine.pool.judging`."""
        ...


class CachedJudging(Judging, Protocol):
    """Judges texts whose judgements it does not have yet."""

    def has_judgement(
        self, text: str, positive: int | str, negative: int | str, *, cut: Cut | None = None
    ) -> bool:
        """Whether `judge` needs no worker now."""
        ...


@dataclass(frozen=True)
class Ranked:
    """A document's relevance.

    Attributes:
        index: the document's index in the request.
        relevance: the probability that the document is relevant.
    """

    index: int
    relevance: float


@dataclass(frozen=True)
class Ranking:
    """The documents of a request, best first; equal ones in the order of the request.

    Attributes:
        documents: the best documents.
        prompt_tokens: the tokens of all inputs.
    """

    documents: list[Ranked]
    prompt_tokens: int


@dataclass(frozen=True)
class _Prompt:
    """The encoder's input for a document.

    Attributes:
        index: the index of the first document with this text.
    """

    index: int
    text: str
    cut: Cut | None


class Reranker:
    """Orders documents by their relevance for a query.

    Args:
        engine: the engine that runs the model.
        relevance: how the model judges a document.
        cached: judges for requests that take results of others; None: the engine judges all.
    """

    def __init__(
        self, engine: Engine, relevance: Relevance, cached: CachedJudging | None = None
    ) -> None:
        self._engine = engine
        self._relevance = relevance
        self._cached = cached

    async def rerank(
        self,
        query: str,
        documents: Sequence[str],
        deadline: float,
        *,
        top_n: int | None = None,
        truncate: bool = True,
        use_cache: bool = True,
    ) -> Ranking:
        """Returns the documents that are the most relevant for a query.

        Args:
            query: the query.
            documents: the documents; equal ones are judged once.
            deadline: seconds by time.monotonic.
            top_n: the most documents to return; None: all.
            truncate: whether the end of a document that is too long is left out; else the
                document is refused.
            use_cache: whether judgements may come from a cache, and go there.

        Raises:
            RequestError: a text is refused, there is no time, or the engine failed.
        """
        cached = self._cached if use_cache else None
        call = _Call(self._engine, self._relevance, cached, deadline, truncates=truncate)
        judged = await call.judge_all(query, documents)
        scores = [
            compute_relevance(judged[text].positive_logit, judged[text].negative_logit)
            for text in documents
        ]
        order = sorted(range(len(documents)), key=lambda index: (-scores[index], index))
        return Ranking(
            [Ranked(index, scores[index]) for index in order[:top_n]],
            sum(judged[text].prompt_tokens for text in documents),
        )


class _Call:
    """One request while it is processed."""

    def __init__(
        self,
        engine: Engine,
        relevance: Relevance,
        cached: CachedJudging | None,
        deadline: float,
        *,
        truncates: bool,
    ) -> None:
        self._engine = engine
        self._relevance = relevance
        self._cached = cached
        self._judging: Judging = cached or engine.judging
        self._deadline = deadline
        self._truncates = truncates
        self._has_judged = False

    async def judge_all(self, query: str, documents: Sequence[str]) -> dict[str, Judged]:
        """Returns the judgement of each document, by its text.

        Raises:
            RequestError: a text is refused, there is no time, or the engine failed.
        """
        first = {text: index for index, text in reversed(list(enumerate(documents)))}
        prompts = [self._build_prompt(query, text, index) for text, index in first.items()]
        # Inputs of like length share a step, and the graph of an encode.
        prompts.sort(key=lambda prompt: len(prompt.text))
        self._check_time(prompts)
        places = self._engine.judging.places
        judged = await map_concurrently(self._judge, prompts, places)
        return {
            documents[prompt.index]: result for prompt, result in zip(prompts, judged, strict=True)
        }

    def _build_prompt(self, query: str, document: str, index: int) -> _Prompt:
        """Returns the input for a document, without characters that no worker would read."""
        text, cut = self._relevance.render(query, document)
        limits = self._engine.limits
        try:
            if self._truncates:
                return _Prompt(index, *limits.trim(text, cut))
            return _Prompt(index, limits.fit(text), None)
        except JobError as error:
            raise self._describe(error, index) from error

    def _check_time(self, prompts: Sequence[_Prompt]) -> None:
        unknown = prompts
        if self._cached is not None:
            positive, negative = self._relevance.tokens
            unknown = [
                prompt
                for prompt in prompts
                if not self._cached.has_judgement(prompt.text, positive, negative, cut=prompt.cut)
            ]
        lengths = [len(prompt.text) for prompt in unknown]
        try:
            self._engine.judging.check_time(lengths, self._seconds_left)
        except DeadlineExceeded as error:
            raise request_error(error) from error

    async def _judge(self, _position: int, prompt: _Prompt) -> Judged:
        positive, negative = self._relevance.tokens
        while True:
            try:
                judged = await self._judging.judge(
                    prompt.text, positive, negative, cut=prompt.cut, timeout=self._seconds_left
                )
            except JobError as error:
                pause = self._pause_after(error)
                if pause is None:
                    raise self._describe(error, prompt.index) from error
                await asyncio.sleep(pause)
            else:
                self._has_judged = True
                return judged

    @property
    def _seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _pause_after(self, error: JobError) -> float | None:
        """Returns the seconds after which to try again; None: the request has failed.

        A request is refused at its first document or not at all. Later the queue can be full for a
        moment, and a worker can be started anew: the documents that are judged count.
        """
        is_passing = isinstance(error, QueueFull) or (
            isinstance(error, EngineNotReady) and self._engine.state == "restarting"
        )
        pause = max(PAUSE_SECONDS, error.retry_after)
        return pause if self._has_judged and is_passing and pause < self._seconds_left else None

    def _describe(self, error: JobError, index: int) -> RequestError:
        """Returns the error as the client sees it, with the field at fault."""
        param = f"documents[{index}]"
        if isinstance(error, InputTooLong) and self._truncates:
            param = "query"  # without any document it is too long
        described = request_error(error, param=param)
        described.message = f"{param}: {error}" if described.param else described.message
        return described
