"""POST /v1/chat/completions: the part of OpenAI's chat that query expanders use."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from t5serve.http.schemas.body import MAX_N, WHOLE, DescribedBody, Number, UsageBody, refusal
from t5serve.http.schemas.completions import (
    NullableBody,
    Stop,
    StreamOptions,
    single_message,
)
from t5serve.http.schemas.reformulate import require_text

SPEAKERS = ("user", "assistant")  # whose messages are turns of the conversation
NO_TOOLS = single_message("tools can't be called here; use response_format")
NoTools = Annotated[Annotated[list[Any], Field(max_length=0)] | None, NO_TOOLS]
NoToolChoice = Annotated[Literal["none", "auto"] | None, NO_TOOLS]


class ContentPart(DescribedBody):
    """A text part of a message."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text"]
    """The type of the part; only text parts are supported."""
    text: str
    """The text of the part."""
    cache_control: dict[str, Any] | None = None
    """Accepted without effect: what a client asks of another provider's cache."""
    prompt_cache_breakpoint: dict[str, Any] | None = None
    """Accepted without effect: results are cached as a whole."""


Content = Annotated[
    str | list[ContentPart] | None,
    single_message('must be a string, or a list of parts of type "text"'),
]


class Message(DescribedBody):
    """One message of the conversation; fields not listed here are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    """The author of the message; the last message with role `user` is the query."""
    content: Content = None
    """The text of the message, as a string or as a list of text parts."""

    @property
    def text(self) -> str:
        """The whole text of the message; parts are joined by newlines."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or ())


class ResponseFormat(DescribedBody):
    """The format of the answer: lines of text, or the JSON object `{"queries": [...]}`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text", "json_object", "json_schema"]
    """`text` gives one reformulation per line; the other types give `{"queries": [...]}`."""
    json_schema: dict[str, Any] | None = None
    """The schema of the answer, for type `json_schema`. It must have an array named `queries`;
    `maxItems`, else `minItems` of the array sets the number of reformulations."""

    @model_validator(mode="after")
    def _require_queries_array(self) -> Self:
        if self.type == "json_schema" and self._queries().get("type") != "array":
            raise refusal("json_schema", 'the schema must have an array named "queries"')
        return self

    @property
    def count(self) -> int | None:
        """The number of queries that the schema asks for; None if it sets no bound."""
        for bound in ("maxItems", "minItems"):
            value = self._queries().get(bound)
            if isinstance(value, int) and value > 0:
                return value
        return None

    def _queries(self) -> dict[str, Any]:
        schema: Any = self.json_schema or {}
        for name in ("schema", "properties", "queries"):
            schema = schema.get(name) if isinstance(schema, dict) else None
        return schema if isinstance(schema, dict) else {}


class ChatRequest(NullableBody):
    """A conversation whose last user message is a query, or an instruction that contains a query.

    The model's recipe decides how reformulations are decoded; the default is diverse beam
    search. `temperature`, `top_p` and `seed` have an effect only if the recipe samples. Some
    fields of OpenAI's API are accepted without effect. Tools are refused.
    """

    model: str
    """The name of the model, as listed by /v1/models."""
    messages: Annotated[list[Message], Field(min_length=1)]
    """The conversation. Its last user message is the query, or an instruction that contains
    the query. Of a model with a task for conversations, the messages of users and assistants
    before it are the earlier turns; the last 20 count."""
    n: Annotated[int, Field(ge=1, le=MAX_N), WHOLE] = 1
    """The number of choices in the answer; the reformulations are shared among them."""
    task: str | None = None
    """The task of the model to use; by default the model's first task, or after earlier turns its
    first task that takes them."""
    stream: bool = False
    """Whether to answer with server-sent events instead of a single body."""
    stream_options: StreamOptions | None = None
    """Options of the stream; allowed only if `stream` is true."""
    response_format: ResponseFormat | None = None
    """The format of the answer: lines of text (the default), or JSON."""
    max_tokens: Annotated[int, Field(ge=1), WHOLE] | None = None
    """The most tokens of one reformulation; values above the model's limit are lowered to it."""
    max_completion_tokens: Annotated[int, Field(ge=1), WHOLE] | None = None
    """The most tokens of one reformulation; takes precedence over `max_tokens`."""
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    """The sampling temperature. It has an effect only if the model's recipe samples; 0 selects
    diverse beam search instead."""
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    """Samples from the most likely tokens whose probabilities sum to this value. It has an
    effect only if the model's recipe samples."""
    seed: Annotated[int, WHOLE] | None = None
    """The seed of the random generator. It has an effect only if the model's recipe samples."""
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    """Must be 0; only /v1/completions supports this penalty."""
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    """Must be 0; only /v1/completions supports this penalty."""
    logit_bias: dict[str, Number] | None = None
    """Must be empty; only /v1/completions supports biases."""
    stop: Stop | None = None
    """Must be empty; only /v1/completions supports stop strings."""
    user: str | None = None
    """Accepted without effect: an id of the end user."""
    metadata: dict[str, Any] | None = None
    """Accepted without effect: metadata of the request."""
    store: bool | None = None
    """Accepted without effect: nothing is stored."""
    service_tier: str | None = None
    """Accepted without effect: there is one service tier."""
    parallel_tool_calls: bool | None = None
    """Accepted without effect: tools are not supported."""
    safety_identifier: str | None = None
    """Accepted without effect: an id of the end user."""
    prompt_cache_key: str | None = None
    """Accepted without effect: results are cached as a whole."""
    prompt_cache_retention: str | None = None
    """Accepted without effect: results are cached as a whole."""
    prompt_cache_options: dict[str, Any] | None = None
    """Accepted without effect: results are cached as a whole."""
    reasoning_effort: str | None = None
    """Accepted without effect: the model does not reason."""
    verbosity: str | None = None
    """Accepted without effect: a reformulation is one line."""
    modalities: list[Literal["text"]] | None = None
    """Must be `["text"]`."""
    logprobs: Literal[False] | None = None
    """Must be false; only /v1/completions returns log-probabilities."""
    top_logprobs: Annotated[int, Field(ge=0, le=0), WHOLE] | None = None
    """Must be 0; only /v1/completions returns log-probabilities."""
    tools: NoTools = None
    """Must be empty; the model can not call tools."""
    tool_choice: NoToolChoice = None
    """Must be `none` or `auto`; the model can not call tools."""
    functions: NoTools = None
    """Must be empty; the model can not call functions."""
    function_call: NoToolChoice = None
    """Must be `none` or `auto`; the model can not call functions."""
    cache: bool = True
    """Whether the answer may come from the cache of results, and go there. A field of t5serve, not
    of OpenAI's API."""

    @field_validator("messages")
    @classmethod
    def _require_user_message(cls, messages: list[Message]) -> list[Message]:
        texts = [message.text for message in messages if message.role == "user"]
        if not texts:
            raise ValueError('must contain a message with role "user"')
        require_text(texts[-1])
        for message in messages:
            if message.role in SPEAKERS and message.text.strip():
                require_text(message.text)
        return messages

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise refusal("stream_options", "stream_options needs stream to be true")
        for name in ("stop", "presence_penalty", "frequency_penalty", "logit_bias"):
            if getattr(self, name):
                raise refusal(name, f"{name} is not supported here; use /v1/completions")
        return self

    @property
    def last_user_message(self) -> str:
        """The text of the last message with role `user`."""
        return self.messages[self._last_user_index].text

    @property
    def earlier_turns(self) -> list[str]:
        """The texts of users and assistants before the last user message, oldest first."""
        return [
            message.text
            for message in self.messages[: self._last_user_index]
            if message.role in SPEAKERS and message.text.strip()
        ]

    @property
    def _last_user_index(self) -> int:
        indices = range(len(self.messages))
        return next(index for index in reversed(indices) if self.messages[index].role == "user")


class ChatMessageBody(DescribedBody):
    """A message that the model wrote."""

    role: Literal["assistant"] = "assistant"
    """The author of the message: always the assistant."""
    content: str
    """The reformulations, one per line, or as a JSON object."""
    refusal: None = None
    """Always null."""


class ChatChoice(DescribedBody):
    """One choice of the answer."""

    index: int
    """The position of the choice, from 0."""
    message: ChatMessageBody
    """The message of the model."""
    logprobs: None = None
    """Always null."""
    finish_reason: Literal["stop"] = "stop"
    """Always `stop`: a choice is complete."""


class ChatResponse(DescribedBody):
    """The answer to a chat request."""

    id: str
    """The unique id of this response."""
    object: Literal["chat.completion"] = "chat.completion"
    """The type of this object."""
    created: int
    """The time of the response, as Unix time in seconds."""
    model: str
    """The name of the model."""
    choices: list[ChatChoice]
    """The choices; their number is `n`."""
    system_fingerprint: str
    """A fingerprint of the model file and the service version."""
    usage: UsageBody
    """The number of tokens that the request used."""


class ChatChunkChoice(DescribedBody):
    """The next part of one choice; the first part names the role."""

    index: int
    """The position of the choice, from 0."""
    delta: dict[Literal["role", "content"], str]
    """The new part of the message."""
    logprobs: None = None
    """Always null."""
    finish_reason: Literal["stop"] | None = None
    """`stop` in the last part of the choice, else null."""


class ChatChunk(DescribedBody):
    """One event of a chat stream."""

    id: str
    """The unique id of this response."""
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    """The type of this object."""
    created: int
    """The time of the response, as Unix time in seconds."""
    model: str
    """The name of the model."""
    choices: list[ChatChunkChoice]
    """The choice that this event extends; empty in an event that has `usage`."""
    system_fingerprint: str
    """A fingerprint of the model file and the service version."""
    usage: UsageBody | None = None
    """The number of tokens that the request used; only in the last event, if
    `stream_options.include_usage` is true."""
