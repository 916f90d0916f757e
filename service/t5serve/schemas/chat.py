"""POST /v1/chat/completions: as much of OpenAI's chat as query expanders speak."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from t5serve.schemas.body import MAX_N, Number, UsageBody
from t5serve.schemas.completions import (
    NullableBody,
    Stop,
    StreamOptions,
    one_message,
)
from t5serve.schemas.reformulate import require_text


class ContentPart(BaseModel):
    """A part of a message; only text is read."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text"]
    text: str


Content = Annotated[
    str | list[ContentPart] | None, one_message('must be a string, or parts of type "text"')
]


class Message(BaseModel):
    """One message; fields that say nothing here are let through."""

    model_config = ConfigDict(extra="ignore", strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content = None

    @property
    def text(self) -> str:
        """All of its text."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or ())


class ResponseFormat(BaseModel):
    """Lines of text, or {"queries": [...]}."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None

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
    messages: Annotated[list[Message], Field(min_length=1)]
    n: Annotated[int, Field(ge=1, le=MAX_N)] = 1
    task: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    seed: int | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, Number] | None = None
    stop: Stop | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    parallel_tool_calls: bool | None = None
    logprobs: Literal[False] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None

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


class ChatMessageBody(BaseModel):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: ChatMessageBody
    logprobs: None = None
    finish_reason: Literal["stop"] = "stop"


class ChatResponse(BaseModel):
    """The answer to one request."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    system_fingerprint: str
    usage: UsageBody


class ChatChunkChoice(BaseModel):
    """More of one answer; the first `delta` says who speaks."""

    index: int
    delta: dict[Literal["role", "content"], str]
    logprobs: None = None
    finish_reason: Literal["stop"] | None = None


class ChatChunk(BaseModel):
    """A part of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChunkChoice]
    system_fingerprint: str
    usage: UsageBody | None = None
