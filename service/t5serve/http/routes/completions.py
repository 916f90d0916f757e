"""POST /v1/completions."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Generated, Progress
from t5serve.concurrency import gather, iterate_events
from t5serve.http import endpoints
from t5serve.http.routes.choices import ChoiceBuilder, Envelope, join_logprobs
from t5serve.http.routes.connection import read_body, while_connected
from t5serve.http.routes.leases import use_model
from t5serve.http.routes.sse import DONE, ServerEvent, event_response
from t5serve.http.schemas.body import UsageBody, parse
from t5serve.http.schemas.completions import (
    CompletionChoice,
    CompletionRequest,
)
from t5serve.models.registry import ModelRegistry
from t5serve.models.served_model import ServedModel
from t5serve.settings import Settings


def completion_routes(models: ModelRegistry, settings: Settings) -> list[Route]:
    """Returns the route of OpenAI's legacy completions.

    A recipe can name a task; prompts then get the prefix of the task.
    """

    async def completions(request: Request) -> Response:
        body = parse(CompletionRequest, await read_body(request, settings.timeout_ms / 1000))
        deadline = time.monotonic() + settings.timeout_ms / 1000
        model = await use_model(request, models, body.model, settings.timeout_ms / 1000)
        config = body.config(model.info.max_tokens)
        model.admission.check_budget(len(body.prompts), config, param="prompt")
        decoder = Decoder(model, body, config, deadline)
        model.admission.check_room(len(body.prompts), config, decoder.count_jobs)
        envelope = Envelope(model.name, await model.fingerprint.text())
        if body.stream:
            return await while_connected(request, event_response(_events(decoder, envelope)))
        results = await while_connected(request, decoder.decode_all())
        choices = [
            choice
            for prompt_index, (prompt, generated) in enumerate(results)
            for choice in _build_choices(prompt_index, prompt, generated, body)
        ]
        usage = _sum_usage([generated for _, generated in results])
        return JSONResponse(envelope.wrap(choices, usage).model_dump())

    return [endpoints.COMPLETIONS.route(completions)]


@dataclass(frozen=True)
class Prompt:
    """A prompt as the engine decodes it: as text or as token ids.

    Attributes:
        echo: the texts of the prompt's tokens, if the prompt is echoed.
    """

    text: str | None
    ids: list[int] | None
    echo: list[str]


class Decoder:
    """Decodes the prompts of one request within its deadline."""

    def __init__(
        self,
        model: ServedModel,
        body: CompletionRequest,
        config: GenerationConfig,
        deadline: float,
    ) -> None:
        self._engine = model.engine
        self._cached = model.cached_engine if body.cache else None
        self._prefix = model.profile.completions_prefix
        self._config = config
        self._deadline = deadline
        self.body = body

    def count_jobs(self) -> int:
        """Returns how many prompts need a place in the queue."""
        cached = self._cached
        if cached is None or self.body.echo:  # a worker tokenises what is echoed
            return len(self.body.prompts)
        inputs = map(self._input, self.body.prompts)
        return sum(
            not cached.has_result(self._config, text=text, ids=ids, stop=self.body.stops)
            for text, ids in inputs
        )

    async def decode_all(self) -> list[tuple[Prompt, Generated]]:
        """Decodes every prompt of the request."""

        async def decode(raw_prompt: str | list[int]) -> tuple[Prompt, Generated]:
            prompt = await self.prepare(raw_prompt)
            return prompt, await self.generate(prompt)

        return await gather(map(decode, self.body.prompts))

    async def prepare(self, raw_prompt: str | list[int]) -> Prompt:
        """Adds the prefix to a text, and tokenises a prompt that is echoed."""
        text, ids = self._input(raw_prompt)
        if not self.body.echo:
            return Prompt(text, ids, [])
        timeout = self._deadline - time.monotonic()
        tokenized = await self._engine.tokenize(text, ids, timeout=timeout)
        echo = [part for part in tokenized.texts if part]
        if text is not None and "".join(echo) != text:
            echo = [text] if text else []  # the tokenizer normalises blanks and widths
        return Prompt(None, tokenized.ids, echo)

    async def generate(
        self, prompt: Prompt, on_progress: Callable[[Progress], None] | None = None
    ) -> Generated:
        """Decodes one prompt."""
        generator = self._cached or self._engine
        result = await generator.generate(
            self._config,
            text=prompt.text,
            ids=prompt.ids,
            stop=self.body.stops,
            timeout=self._deadline - time.monotonic(),
            on_progress=on_progress,
        )
        return result.generated

    def _input(self, raw_prompt: str | list[int]) -> tuple[str | None, list[int] | None]:
        """Returns the encoder's input, as a text or as token ids."""
        if isinstance(raw_prompt, str):
            return self._prefix + raw_prompt, None
        return None, raw_prompt


def _build_choices(
    prompt_index: int, prompt: Prompt, generated: Generated, body: CompletionRequest
) -> Iterator[CompletionChoice]:
    """Builds the choices of a prompt: its n best sequences."""
    outputs = generated.outputs
    if len(outputs) > body.n:
        outputs = sorted(outputs, key=lambda output: -output.score)[: body.n]
    for rank, output in enumerate(outputs):
        builder = ChoiceBuilder(prompt_index * body.n + rank, body.logprobs)
        parts = [builder.echo_prompt(prompt.echo), builder.add_text(output.text, output.details)]
        yield CompletionChoice(
            text="".join(part.text for part in parts),
            index=parts[0].index,
            logprobs=join_logprobs([part.logprobs for part in parts if part.logprobs is not None]),
            finish_reason=output.finish_reason,
        )


async def _events(decoder: Decoder, envelope: Envelope) -> AsyncIterator[ServerEvent]:
    """Yields the events of a stream: parts of choices, then the usage if requested."""
    body = decoder.body
    results: list[Generated] = []

    async def work(emit: Callable[[CompletionChoice], None]) -> None:
        streams = [
            _stream_prompt(decoder, index, prompt, emit)
            for index, prompt in enumerate(body.prompts)
        ]
        results.extend(await gather(streams))

    async for part in iterate_events(work):
        yield ServerEvent(None, envelope.wrap([part]).model_dump())
    if body.stream_options is not None and body.stream_options.include_usage:
        yield ServerEvent(None, envelope.wrap([], _sum_usage(results)).model_dump())
    yield DONE


async def _stream_prompt(
    decoder: Decoder,
    prompt_index: int,
    raw_prompt: str | list[int],
    emit: Callable[[CompletionChoice], None],
) -> Generated:
    """Decodes one prompt, and emits the parts of its choices."""
    body = decoder.body
    prompt = await decoder.prepare(raw_prompt)
    builders = [ChoiceBuilder(prompt_index * body.n + i, body.logprobs) for i in range(body.n)]
    unstarted = set(range(body.n))

    def start(index: int) -> ChoiceBuilder:
        # The echo waits for the first token: before it, a refusal can still set the status.
        if body.echo and index in unstarted:
            emit(builders[index].echo_prompt(prompt.echo))
        unstarted.discard(index)
        return builders[index]

    def on_progress(progress: Progress) -> None:
        emit(start(progress.index).add_text(progress.text, progress.details))

    generated = await decoder.generate(prompt, on_progress)
    for index, output in enumerate(generated.outputs):
        emit(start(index).finish(output.finish_reason))
    return generated


def _sum_usage(results: Sequence[Generated]) -> UsageBody:
    prompt = sum(generated.prompt_tokens for generated in results)
    completion = sum(generated.completion_tokens for generated in results)
    return UsageBody(
        prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion
    )
