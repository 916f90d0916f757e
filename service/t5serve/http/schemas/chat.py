"""POST /v1/chat/completions: as much of OpenAI's chat as query expanders speak."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from t5serve.http.schemas.body import MAX_N, Described, Number, UsageBody
from t5serve.http.schemas.completions import (
    NullableBody,
    Stop,
    StreamOptions,
    one_message,
)
from t5serve.http.schemas.reformulate import require_text


class ContentPart(Described):
    """A part of a message; only text is read."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text"]
    """Only text is read."""
    text: str
    """The part."""


Content = Annotated[
    str | list[ContentPart] | None, one_message('must be a string, or parts of type "text"')
]


class Message(Described):
    """One message; fields that say nothing here are let through."""

    model_config = ConfigDict(extra="ignore", strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    """Who speaks; the last of the user counts."""
    content: Content = None
    """A text, or parts of one."""

    @property
    def text(self) -> str:
        """All of its text."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or ())


class ResponseFormat(Described):
    """Lines of text, or {"queries": [...]}."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text", "json_object", "json_schema"]
    """text gives a line for each reformulation, the others {"queries": [...]}."""
    json_schema: dict[str, Any] | None = None
    """Of the answer; it must have an array `queries`, whose bounds say how many."""

    @model_validator(mode="after")
    def _has_queries(self) -> Self:
        if self.type == "json_schema" and self._queries().get("type") != "array":
            raise ValueError('only a schema with an array named "queries" can be answered')
        return self

    @property
    def count(self) -> int | None:
        """How many queries the schema wants."""
        for bound in ("maxItems", "minItems"):
            value = self._queries().get(bound)
            if isinstance(value, int) and value > 0:
                return value
        return None

    def _queries(self) -> dict[str, Any]:
        found: Any = self.json_schema or {}
        for name in ("schema", "properties", "queries"):
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}


class ChatRequest(NullableBody):
    """A conversation whose last message by the user is a query, or an instruction with one in it.

    Reformulations come as the model's recipe says, by beams unless it says otherwise;
    temperature, top_p and seed only count for a recipe that samples. Fields that clients send
    without meaning anything by them here are let through, tools are not.
    """

    model: str
    """Its name, as in /v1/models."""
    messages: Annotated[list[Message], Field(min_length=1)]
    """The last of the user is the query, or an instruction that has it."""
    n: Annotated[int, Field(ge=1, le=MAX_N)] = 1
    """Choices."""
    task: str | None = None
    """One of the model's tasks; by default its first."""
    stream: bool = False
    """Server-sent events instead of one body."""
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    response_format: ResponseFormat | None = None
    """Lines of text, or JSON."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Most tokens of a line; more than the model gives is cut to that."""
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    """Another name for it."""
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    """Only for a model that samples by its recipe."""
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    """Likewise."""
    seed: int | None = None
    """Likewise."""
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    """Must be 0: /v1/completions has it."""
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    """Likewise."""
    logit_bias: dict[str, Number] | None = None
    """Must be empty: /v1/completions has it."""
    stop: Stop | None = None
    """Likewise."""
    user: str | None = None
    """Taken, without effect."""
    metadata: dict[str, Any] | None = None
    """Likewise."""
    store: bool | None = None
    """Likewise."""
    service_tier: str | None = None
    """Likewise."""
    parallel_tool_calls: bool | None = None
    """Likewise."""
    logprobs: Literal[False] | None = None
    """Must be false: /v1/completions has them."""
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    """Must be empty: there is nothing that could call one."""

    @field_validator("messages")
    @classmethod
    def _asks(cls, messages: list[Message]) -> list[Message]:
        asked = [message.text for message in messages if message.role == "user"]
        if not asked:
            raise ValueError("one must be the user's")
        require_text(asked[-1])
        return messages

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream")
        for name in ("stop", "presence_penalty", "frequency_penalty", "logit_bias"):
            if getattr(self, name):
                raise ValueError(f"{name} can't be had here; /v1/completions has it")
        return self

    @property
    def question(self) -> str:
        """The last message by the user."""
        return next(one.text for one in reversed(self.messages) if one.role == "user")


class ChatMessageBody(Described):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    """Who speaks."""
    content: str
    """Reformulations, a line each or as JSON."""
    refusal: None = None
    """Always null."""


class ChatChoice(Described):
    """One answer."""

    index: int
    """From 0."""
    message: ChatMessageBody
    """The answer."""
    logprobs: None = None
    """Always null."""
    finish_reason: Literal["stop"] = "stop"
    """Lines always come to their end."""


class ChatResponse(Described):
    """The answer to one request."""

    id: str
    """Of this answer."""
    object: Literal["chat.completion"] = "chat.completion"
    """What kind of object this is."""
    created: int
    """Unix time in seconds."""
    model: str
    """Its name."""
    choices: list[ChatChoice]
    """As many as `n`."""
    system_fingerprint: str
    """Changes when the model or the version does."""
    usage: UsageBody
    """Tokens."""


class ChatChunkChoice(Described):
    """More of one answer; the first `delta` says who speaks."""

    index: int
    """From 0."""
    delta: dict[Literal["role", "content"], str]
    """What is new."""
    logprobs: None = None
    """Always null."""
    finish_reason: Literal["stop"] | None = None
    """Null until the last."""


class ChatChunk(Described):
    """A part of a stream."""

    id: str
    """Of this answer."""
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    """What kind of object this is."""
    created: int
    """Unix time in seconds."""
    model: str
    """Its name."""
    choices: list[ChatChunkChoice]
    """One that has grown."""
    system_fingerprint: str
    """Changes when the model or the version does."""
    usage: UsageBody | None = None
    """In the last chunk, if it was asked for."""
