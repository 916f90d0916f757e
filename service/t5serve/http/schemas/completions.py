"""POST /v1/completions: OpenAI's legacy completions, and three of Hugging Face's parameters."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError, ValidationError

from t5engine.decoding.parameters import MAX_WIDTH, GenerationConfig
from t5serve.errors import InvalidRequest
from t5serve.http.schemas.body import MAX_LIST, MAX_N, Described, Number, RequestBody, UsageBody
from t5serve.http.schemas.parameters import bounds

TokenId: TypeAlias = Annotated[int, Field(ge=0, lt=2**31)]
MAX_IDS = 4096  # of a prompt: T5SERVE_MAX_INPUT_TOKENS can't be set higher


def one_message(message: str) -> WrapValidator:
    """Says once what a field may be, instead of once for each type that it is not."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:  # noqa: ANN401 - any JSON
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("union", "{message}", {"message": message}) from None

    return WrapValidator(check)


Ids: TypeAlias = Annotated[list[TokenId], Field(min_length=1, max_length=MAX_IDS, fail_fast=True)]
Prompt = Annotated[
    str
    | Annotated[list[str], Field(min_length=1, max_length=MAX_LIST, fail_fast=True)]
    | Ids
    | Annotated[list[Ids], Field(min_length=1, max_length=MAX_LIST, fail_fast=True)],
    one_message("must be a string, a list of strings, token ids, or a list of lists of them"),
]
StopString: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]
Stop = Annotated[
    StopString | Annotated[list[StopString], Field(max_length=4)],
    one_message("must be a string or up to four of them, none empty"),
]
Biases = Annotated[
    dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Annotated[Number, Field(ge=-100, le=100)]],
    Field(max_length=MAX_LIST),
    one_message("must map up to 1,024 token ids to numbers from -100 to 100"),
]


class StreamOptions(RequestBody):
    """What a stream has besides text."""

    include_usage: bool = False
    """A last chunk with `usage` and no choices."""


class NullableBody(RequestBody):
    """A body in which null means absent."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:  # noqa: ANN401 - any JSON
        if not isinstance(value, dict):
            return value
        return {name: item for name, item in value.items() if item is not None}


class CompletionRequest(NullableBody):
    """Raw text for the encoder, and how to decode it."""

    model: str
    """Its name, as in /v1/models."""
    prompt: Prompt
    """The encoder's input: a text, token ids, or a list of either. Nothing is put before it."""
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] = 16
    """Most tokens of a completion; more than the model gives is cut to that."""
    temperature: Annotated[Number, Field(ge=0, le=2)] = 1.0
    """Divides the logits before a token is drawn; 0 takes the most likely one."""
    top_p: Annotated[Number, Field(ge=0, le=1)] = 1.0
    """Draws from the most likely tokens that have this probability together."""
    n: Annotated[int, Field(ge=1, le=MAX_N)] = 1
    """Completions of each prompt."""
    best_of: Annotated[int, Field(ge=1, le=MAX_WIDTH)] | None = None
    """Decodes this many and gives the n best; at least n, and not streamed."""
    stream: bool = False
    """Server-sent events instead of one body."""
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    """Log-probabilities of the tokens, and of this many others at each place."""
    stop: Stop | None = None
    """Where a completion ends; the string itself is left out."""
    seed: int | None = None
    """The same request with the same seed gets the same answer."""
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] = 0.0
    """Taken from the logits of tokens that were said."""
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] = 0.0
    """Taken from the logits of tokens, each time that they were said."""
    logit_bias: Biases | None = None
    """Added to the logits, by token id."""
    echo: bool = False
    """Puts the prompt before each completion."""
    user: str | None = None
    """Taken, without effect."""
    top_k: Annotated[int, bounds("top_k")] = 0
    """Draws from this many of the most likely tokens; 0: from all."""
    repetition_penalty: Annotated[float, bounds("repetition_penalty")] = 1.0
    """Above 1: tokens that were said are less likely to come again."""
    num_beams: Annotated[int, bounds("num_beams")] = 1
    """Above 1: beam search instead of drawing; at least n."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.best_of is not None and self.best_of < self.n:
            raise ValueError("best_of must be at least n")
        if self.best_of is not None and self.best_of > self.n and self.stream:
            raise ValueError("best_of can't be streamed: which is best shows at the end")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream")
        if self.num_beams > 1 and self.num_beams < self.n:
            raise ValueError("num_beams must be at least n")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """One or several, as texts or as token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [one for one in self.prompt if not isinstance(one, int)]

    @property
    def stops(self) -> list[str]:
        """The stop strings."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())

    def config(self, max_tokens: int) -> GenerationConfig:
        """How to decode each prompt, `max_tokens` being the most that the model gives.

        Raises:
            InvalidRequest: parameters that exclude each other.
        """
        beams = self.num_beams > 1
        if beams and (self.temperature not in (0, 1) or self.top_p != 1 or self.top_k):
            raise InvalidRequest("beams are not sampled: leave out temperature, top_p and top_k")
        sampled: dict[str, Any] = {
            "do_sample": True,
            "temperature": self.temperature,
            "top_p": self.top_p or 1e-9,
            "top_k": self.top_k,
            "seed": None if self.seed is None else self.seed % 2**63,
        }
        try:
            return GenerationConfig(
                max_tokens=min(self.max_tokens, max_tokens),
                num_beams=self.num_beams,
                num_return_sequences=max(self.n, self.best_of or 1),
                repetition_penalty=self.repetition_penalty,
                presence_penalty=self.presence_penalty,
                frequency_penalty=self.frequency_penalty,
                logit_bias={int(key): bias for key, bias in (self.logit_bias or {}).items()},
                top_logprobs=self.logprobs,
                **({} if beams else sampled),
            )
        except ValueError as error:
            raise InvalidRequest(str(error)) from error


class LogprobsBody(Described):
    """Of the tokens of a choice; parallel lists, offsets in characters."""

    tokens: list[str]
    """Their texts."""
    token_logprobs: list[float | None]
    """Log-probability of each; null for an echoed prompt."""
    top_logprobs: list[dict[str, float] | None]
    """The likeliest tokens at each place."""
    text_offset: list[int]
    """Where each begins in the text, in characters."""


class CompletionChoice(Described):
    """One completion; `index` counts through all prompts, n for each."""

    text: str
    """What was decoded."""
    index: int
    """Through all prompts, n for each."""
    logprobs: LogprobsBody | None
    """If they were asked for."""
    finish_reason: Literal["stop", "length"] | None
    """stop: it came to an end; length: max_tokens ended it."""


class CompletionResponse(Described):
    """The answer to one request, and each part of a stream."""

    id: str
    """Of this answer."""
    object: Literal["text_completion"] = "text_completion"
    """What kind of object this is."""
    created: int
    """Unix time in seconds."""
    model: str
    """Its name."""
    choices: list[CompletionChoice]
    """In the order of their indices."""
    system_fingerprint: str
    """Changes when the model or the version does."""
    usage: UsageBody | None = None
    """Tokens."""
