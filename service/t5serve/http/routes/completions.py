"""POST /v1/completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Generated, Progress, Token
from t5engine.pool.engine import Engine
from t5serve.concurrency import gather, iterate_events
from t5serve.http import endpoints
from t5serve.http.routes.connection import read_body, while_connected
from t5serve.http.routes.sse import DONE, ServerEvent, event_response
from t5serve.http.schemas.body import UsageBody, parse
from t5serve.http.schemas.completions import (
    CompletionChoice,
    CompletionRequest,
    CompletionResponse,
    LogprobsBody,
)
from t5serve.models.registry import ModelRegistry
from t5serve.settings import Settings


def completion_routes(models: ModelRegistry, settings: Settings) -> list[Route]:
    """OpenAI's legacy completions; the recipe may name the task whose prefix prompts get."""

    async def completions(request: Request) -> Response:
        body = parse(CompletionRequest, await read_body(request, settings.timeout_ms / 1000))
        model = models.find(body.model)
        config = body.config(model.info.max_tokens)
        model.admission.check_budget(len(body.prompts), config, param="prompt")
        model.admission.check_room(len(body.prompts), config)
        deadline = time.monotonic() + settings.timeout_ms / 1000
        decoder = Decoder(model.engine, body, config, model.profile.completions_prefix, deadline)
        envelope = Envelope(model.name, await model.fingerprint.text())
        if body.stream:
            return await while_connected(request, event_response(_events(decoder, envelope)))
        done = await while_connected(request, decoder.all())
        choices = [
            choice
            for place, (prompt, generated) in enumerate(done)
            for choice in _choices(place, prompt, generated, body)
        ]
        usage = _usage([generated for _, generated in done])
        return JSONResponse(envelope.around(choices, usage).model_dump())

    return [endpoints.COMPLETIONS.route(completions)]


@dataclass(frozen=True)
class Prompt:
    """One prompt as it is decoded, and the parts in which it is echoed."""

    text: str | None
    ids: list[int] | None
    echo: list[str]


class Decoder:
    """Decodes the prompts of one request within its deadline."""

    def __init__(
        self,
        engine: Engine,
        body: CompletionRequest,
        config: GenerationConfig,
        prefix: str,
        deadline: float,
    ) -> None:
        self._engine = engine
        self._prefix = prefix
        self._config = config
        self._deadline = deadline
        self.body = body

    async def all(self) -> list[tuple[Prompt, Generated]]:
        """Every prompt with what came of it."""

        async def one(given: str | list[int]) -> tuple[Prompt, Generated]:
            prompt = await self.prompt(given)
            return prompt, await self.generate(prompt)

        return await gather(map(one, self.body.prompts))

    async def prompt(self, given: str | list[int]) -> Prompt:
        """A prompt, taken apart if it is to be echoed."""
        text, ids = (self._prefix + given, None) if isinstance(given, str) else (None, given)
        if not self.body.echo:
            return Prompt(text, ids, [])
        timeout = self._deadline - time.monotonic()
        tokenized = await self._engine.tokenize(text, ids, timeout=timeout)
        echo = [part for part in tokenized.texts if part]
        if text is not None and "".join(echo) != text:
            echo = [text] if text else []  # tokens say it otherwise: other blanks, other widths
        return Prompt(None, tokenized.ids, echo)

    async def generate(
        self, prompt: Prompt, on_progress: Callable[[Progress], None] | None = None
    ) -> Generated:
        """Decodes one prompt."""
        result = await self._engine.generate(
            self._config,
            text=prompt.text,
            ids=prompt.ids,
            stop=self.body.stops,
            timeout=self._deadline - time.monotonic(),
            on_progress=on_progress,
        )
        return result.generated


class Envelope:
    """What a response and all parts of a stream have in common."""

    def __init__(self, model: str, fingerprint: str) -> None:
        self._model = model
        self._fingerprint = fingerprint
        self._id = f"cmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    def around(
        self, choices: Sequence[CompletionChoice], usage: UsageBody | None = None
    ) -> CompletionResponse:
        """The response, or part of one, with these choices."""
        return CompletionResponse(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=list(choices),
            system_fingerprint=self._fingerprint,
            usage=usage,
        )


class ChoiceBuilder:
    """One choice as it comes, part by part."""

    def __init__(self, index: int, logprobs: int | None) -> None:
        self._index = index
        self._logprobs = logprobs
        self._offset = 0  # of the next token; tokens can come later than their text

    def echo(self, parts: Sequence[str]) -> CompletionChoice:
        """The prompt, whose tokens have no log-probabilities: the model reads it, no more."""
        tokens = [Token(0, part, 0.0, []) for part in parts]
        body = self._describe(tokens)
        if body is not None:
            body.token_logprobs = [None] * len(parts)
            body.top_logprobs = [None] * len(parts)
        return self._part("".join(parts), body)

    def more(self, text: str, details: Sequence[Token] | None) -> CompletionChoice:
        """More text."""
        return self._part(text, self._describe(details or []))

    def end(self, reason: Literal["stop", "length"]) -> CompletionChoice:
        """The end of it."""
        return CompletionChoice(text="", index=self._index, logprobs=None, finish_reason=reason)

    def _part(self, text: str, logprobs: LogprobsBody | None) -> CompletionChoice:
        return CompletionChoice(text=text, index=self._index, logprobs=logprobs, finish_reason=None)

    def _describe(self, details: Sequence[Token]) -> LogprobsBody | None:
        if self._logprobs is None:
            return None
        offsets = []
        for token in details:
            offsets.append(self._offset)
            self._offset += len(token.text)
        return LogprobsBody(
            tokens=[token.text for token in details],
            token_logprobs=[token.logprob for token in details],
            top_logprobs=[_top(token) for token in details],
            text_offset=offsets,
        )


def _top(token: Token) -> dict[str, float]:
    """The most probable texts in a token's place, and its own."""
    top: dict[str, float] = {}
    for _, text, logprob in token.top:
        top.setdefault(text, logprob)  # best first; ids can share a text
    top[token.text] = token.logprob
    return top


def _choices(
    place: int, prompt: Prompt, generated: Generated, body: CompletionRequest
) -> Iterator[CompletionChoice]:
    """The n best of a prompt's sequences."""
    outputs = generated.outputs
    if len(outputs) > body.n:
        outputs = sorted(outputs, key=lambda output: -output.score)[: body.n]
    for number, output in enumerate(outputs):
        choice = ChoiceBuilder(place * body.n + number, body.logprobs)
        parts = [choice.echo(prompt.echo), choice.more(output.text, output.details)]
        yield CompletionChoice(
            text="".join(part.text for part in parts),
            index=parts[0].index,
            logprobs=_joined([part.logprobs for part in parts if part.logprobs is not None]),
            finish_reason=output.finish_reason,
        )


def _joined(parts: Sequence[LogprobsBody]) -> LogprobsBody | None:
    if not parts:
        return None
    return LogprobsBody(
        tokens=[token for part in parts for token in part.tokens],
        token_logprobs=[logprob for part in parts for logprob in part.token_logprobs],
        top_logprobs=[top for part in parts for top in part.top_logprobs],
        text_offset=[offset for part in parts for offset in part.text_offset],
    )


async def _events(decoder: Decoder, envelope: Envelope) -> AsyncIterator[ServerEvent]:
    """The parts of a stream."""
    body = decoder.body
    done: list[Generated] = []

    async def work(tell: Callable[[CompletionChoice], None]) -> None:
        async def one(place: int, given: str | list[int]) -> Generated:
            return await _stream_one(decoder, place, given, tell)

        done.extend(await gather(one(i, given) for i, given in enumerate(body.prompts)))

    async for part in iterate_events(work):
        yield ServerEvent(None, envelope.around([part]).model_dump())
    if body.stream_options is not None and body.stream_options.include_usage:
        yield ServerEvent(None, envelope.around([], _usage(done)).model_dump())
    yield DONE


async def _stream_one(
    decoder: Decoder, place: int, given: str | list[int], tell: Callable[[CompletionChoice], None]
) -> Generated:
    """Decodes one prompt, and tells the parts of its choices."""
    body = decoder.body
    prompt = await decoder.prompt(given)
    choices = [ChoiceBuilder(place * body.n + i, body.logprobs) for i in range(body.n)]
    silent = set(range(body.n))

    def speak(index: int) -> ChoiceBuilder:
        # Not before the model speaks: until then a refusal has a status of its own.
        if body.echo and index in silent:
            tell(choices[index].echo(prompt.echo))
        silent.discard(index)
        return choices[index]

    generated = await decoder.generate(
        prompt, lambda news: tell(speak(news.index).more(news.text, news.details))
    )
    for index, output in enumerate(generated.outputs):
        tell(speak(index).end(output.finish_reason))
    return generated


def _usage(done: Sequence[Generated]) -> UsageBody:
    prompt = sum(generated.prompt_tokens for generated in done)
    completion = sum(generated.completion_tokens for generated in done)
    return UsageBody(
        prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion
    )
