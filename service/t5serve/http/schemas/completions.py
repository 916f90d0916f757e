"""POST /v1/completions: OpenAI's legacy completions with three parameters of Hugging Face."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError, ValidationError

from t5engine.decoding.parameters import MAX_WIDTH, GenerationConfig, ParameterError
from t5serve.errors import InvalidRequest
from t5serve.http.schemas.body import (
    MAX_LIST,
    MAX_N,
    WHOLE,
    DescribedBody,
    Number,
    RequestBody,
    UsageBody,
    refusal,
)
from t5serve.http.schemas.parameters import bounds

TokenId: TypeAlias = Annotated[int, Field(ge=0, lt=2**31)]
MAX_IDS = 4096  # token ids of a prompt; the upper bound of T5SERVE_MAX_INPUT_TOKENS


def single_message(message: str) -> WrapValidator:
    """Replaces the errors of a union, one per member, by a single message."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:  # noqa: ANN401 - any JSON
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("union", "{message}", {"message": message}) from None

    return WrapValidator(check)


TokenIds: TypeAlias = Annotated[
    list[TokenId], Field(min_length=1, max_length=MAX_IDS, fail_fast=True)
]
Prompt = Annotated[
    str
    | Annotated[list[str], Field(min_length=1, max_length=MAX_LIST, fail_fast=True)]
    | TokenIds
    | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_LIST, fail_fast=True)],
    single_message(
        "must be a string, a list of strings, a list of token ids, or a list of such lists"
    ),
]
StopString: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]
Stop = Annotated[
    StopString | Annotated[list[StopString], Field(max_length=4)],
    single_message("must be a string or up to four strings, none empty"),
]
Biases = Annotated[
    dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Annotated[Number, Field(ge=-100, le=100)]],
    Field(max_length=MAX_LIST),
    single_message("must map up to 1,024 token ids to numbers from -100 to 100"),
]


class StreamOptions(RequestBody):
    """Options of a stream."""

    include_usage: bool = False
    """Whether the stream ends with an event that has `usage` and no choices."""
    include_obfuscation: bool = False
    """Accepted without effect: events have no padding."""


class NullableBody(RequestBody):
    """A body in which a null field counts as absent."""

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any) -> Any:  # noqa: ANN401 - any JSON
        if not isinstance(value, dict):
            return value
        return {name: item for name, item in value.items() if item is not None}


class CompletionRequest(NullableBody):
    """Prompts for the encoder, and the parameters of decoding."""

    model: str
    """The name of the model, as listed by /v1/models."""
    prompt: Prompt
    """The input of the encoder: a text, a list of token ids, or a list of either. No prefix is
    added, unless the model's recipe names a task for this route."""
    max_tokens: Annotated[int, Field(ge=1, lt=2**31), WHOLE] = 16
    """The most tokens of a completion; values above the model's limit are lowered to it."""
    temperature: Annotated[Number, Field(ge=0, le=2)] = 1.0
    """The sampling temperature, which divides the logits; 0 selects the most likely token."""
    top_p: Annotated[Number, Field(ge=0, le=1)] = 1.0
    """Samples from the most likely tokens whose probabilities sum to this value."""
    n: Annotated[int, Field(ge=1, le=MAX_N), WHOLE] = 1
    """The number of completions of each prompt."""
    best_of: Annotated[int, Field(ge=1, le=MAX_WIDTH), WHOLE] | None = None
    """The number of completions to decode, of which the best `n` are returned. It must be at
    least `n`; a value above `n` can not be streamed."""
    stream: bool = False
    """Whether to answer with server-sent events instead of a single body."""
    stream_options: StreamOptions | None = None
    """Options of the stream; allowed only if `stream` is true."""
    logprobs: Annotated[int, Field(ge=0, le=5), WHOLE] | None = None
    """Returns the log-probability of each token, and of this many most likely tokens at its
    position."""
    stop: Stop | None = None
    """Up to four strings that end a completion; the string is not part of the completion."""
    seed: Annotated[int, WHOLE] | None = None
    """The seed of the random generator; the same request with the same seed has the same
    answer."""
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] = 0.0
    """Subtracted from the logit of each token that the completion already contains."""
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] = 0.0
    """Subtracted from the logit of a token once per occurrence in the completion."""
    logit_bias: Biases | None = None
    """Values added to the logits, by token id."""
    echo: bool = False
    """Whether each completion begins with the prompt."""
    user: str | None = None
    """Accepted without effect: an id of the end user."""
    top_k: Annotated[int, bounds("top_k"), WHOLE] = 0
    """Samples from this many of the most likely tokens; 0 samples from all tokens."""
    repetition_penalty: Annotated[float, bounds("repetition_penalty")] = 1.0
    """Values above 1 make tokens less likely that the completion already contains."""
    num_beams: Annotated[int, bounds("num_beams"), WHOLE] = 1
    """The number of beams. Values above 1 select beam search instead of sampling, and must be
    at least `n`."""
    cache: bool = True
    """Whether the answer may come from the cache of results, and go there. A field of t5serve, not
    of OpenAI's API."""

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.best_of is not None and self.best_of < self.n:
            raise refusal("best_of", "best_of must be at least n")
        if self.best_of is not None and self.best_of > self.n and self.stream:
            raise refusal(
                "best_of",
                "best_of above n can't be streamed: the best completions are known only at the end",
            )
        if self.stream_options is not None and not self.stream:
            raise refusal("stream_options", "stream_options needs stream to be true")
        if self.num_beams > 1 and self.num_beams < self.n:
            raise refusal("num_beams", "num_beams must be at least n")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts of the request, each as a text or as token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [prompt for prompt in self.prompt if not isinstance(prompt, int)]

    @property
    def stops(self) -> list[str]:
        """The stop strings as a list."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())

    def config(self, max_tokens: int) -> GenerationConfig:
        """Builds the decoding parameters of each prompt.

        Args:
            max_tokens: the most tokens that the model decodes.

        Raises:
            InvalidRequest: parameters exclude each other.
        """
        is_beam_search = self.num_beams > 1
        if is_beam_search and (self.temperature not in (0, 1) or self.top_p != 1 or self.top_k):
            raise InvalidRequest(
                "beam search does not sample; leave out temperature, top_p and top_k",
                param="num_beams",
            )
        sampling: dict[str, Any] = {
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
                **({} if is_beam_search else sampling),
            )
        except ParameterError as error:
            raise InvalidRequest(str(error), param=error.parameter) from error


class LogprobsBody(DescribedBody):
    """The tokens of a choice with their log-probabilities, as parallel lists."""

    tokens: list[str]
    """The text of each token."""
    token_logprobs: list[float | None]
    """The log-probability of each token; null for tokens of an echoed prompt."""
    top_logprobs: list[dict[str, float] | None]
    """The log-probabilities of the most likely tokens at each position, by text; null for tokens
    of an echoed prompt."""
    text_offset: list[int]
    """The offset of each token in the text, in characters."""


class CompletionChoice(DescribedBody):
    """One completion of a prompt."""

    text: str
    """The decoded text; with `echo` it begins with the prompt."""
    index: int
    """The position of the choice over all prompts, from 0; each prompt has `n` choices."""
    logprobs: LogprobsBody | None
    """The log-probabilities of the tokens; null unless the request asks for `logprobs`."""
    finish_reason: Literal["stop", "length"] | None
    """`stop`: the completion reached its end or a stop string. `length`: it reached `max_tokens`.
    Null: more of the choice follows in the stream."""


class CompletionResponse(DescribedBody):
    """The answer to a completion request, and each event of a stream."""

    id: str
    """The unique id of this response."""
    object: Literal["text_completion"] = "text_completion"
    """The type of this object."""
    created: int
    """The time of the response, as Unix time in seconds."""
    model: str
    """The name of the model."""
    choices: list[CompletionChoice]
    """The choices in the order of `index`; in a stream, the choice that this event extends."""
    system_fingerprint: str
    """A fingerprint of the model file and the service version."""
    usage: UsageBody | None = None
    """The number of tokens that the request used. In a stream only the last event has it, if
    `stream_options.include_usage` is true."""
