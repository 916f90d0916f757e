"""POST /v1/reformulate: what it takes and what it gives."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator

from t5serve.engine.config import MAX_TOKENS
from t5serve.schemas.body import RequestBody

# Fields of the contract that this version does not have; a value without effect is let through.
NOT_YET: dict[str, Any] = {
    "num_beams": 1,
    "num_beam_groups": 1,
    "length_penalty": 1,
    "diversity_penalty": 0,
    "temperature": None,
    "top_k": None,
    "top_p": None,
    "min_p": None,
    "repetition_penalty": 1,
    "no_repeat_ngram_size": 0,
    "seed": None,
    "include_original": False,
    "preserve": [],
    "min_difference": 0,
    "stream": False,
}


class QueryItem(RequestBody):
    """One of several queries; `id` comes back with its result."""

    id: str | None = None
    text: str

    @model_validator(mode="before")
    @classmethod
    def _plain_text(cls, value: Any) -> Any:  # noqa: ANN401 - any JSON
        return {"text": value} if isinstance(value, str) else value

    @field_validator("text")
    @classmethod
    def _not_blank(cls, text: str) -> str:
        return require_text(text)


class ReformulateRequest(RequestBody):
    """One query or several, and how to reformulate them."""

    query: str | None = None
    queries: Annotated[list[QueryItem], Field(min_length=1)] | None = None
    task: str | None = None
    n: int = 1
    strategy: Literal["auto", "greedy", "beam", "diverse_beam", "sample"] = "auto"
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    timeout_ms: Annotated[int, Field(ge=1)] | None = None
    strict: bool = False
    cache: bool = True

    num_beams: Any = None
    num_beam_groups: Any = None
    length_penalty: Any = None
    diversity_penalty: Any = None
    temperature: Any = None
    top_k: Any = None
    top_p: Any = None
    min_p: Any = None
    repetition_penalty: Any = None
    no_repeat_ngram_size: Any = None
    seed: Any = None
    include_original: Any = None
    preserve: Any = None
    min_difference: Any = None
    stream: Any = None

    @field_validator(*NOT_YET)
    @classmethod
    def _not_there_yet(cls, value: Any, info: ValidationInfo) -> None:  # noqa: ANN401 - any JSON
        neutral = NOT_YET[info.field_name or ""]
        if value is not None and (
            value != neutral or isinstance(value, bool) != (neutral is False)
        ):
            raise ValueError("not supported by this version")

    @field_validator("query")
    @classmethod
    def _not_blank(cls, query: str | None) -> str | None:
        return None if query is None else require_text(query)

    @field_validator("n")
    @classmethod
    def _one(cls, n: int) -> int:
        if n != 1:
            raise ValueError("only 1 is supported by this version")
        return n

    @field_validator("strategy")
    @classmethod
    def _greedy(cls, strategy: str) -> str:
        if strategy not in ("auto", "greedy"):
            raise ValueError("only auto and greedy are supported by this version")
        return strategy

    @model_validator(mode="after")
    def _query_or_queries(self) -> Self:
        if (self.query is None) == (self.queries is None):
            raise ValueError("exactly one of query and queries is needed")
        return self

    def items(self) -> list[QueryItem]:
        """The queries, however they were given."""
        if self.queries is not None:
            return self.queries
        return [QueryItem(text=self.query or "")]


def require_text(text: str) -> str:
    """The text, unless it shows nothing: then a ValueError."""
    # Categories C (control, format, unassigned) and Z (separators) show nothing.
    if not text.strip() or all(unicodedata.category(c)[0] in "CZ" for c in text.strip()):
        raise ValueError("must not be blank")
    return text


class ReformulationBody(BaseModel):
    """One candidate."""

    text: str
    score: float | None
    rank: int
    tokens: int
    source: Literal["model", "original"]


class ResultBody(BaseModel):
    """What became of one query; `queries` is never empty."""

    id: str | None = None
    original: str
    queries: list[str]
    reformulations: list[ReformulationBody]
    fallback: bool
    fallback_reason: str | None
    cached: bool


class TimingsBody(BaseModel):
    """Milliseconds: the longest wait for a worker, the sums of the worker's phases, wall time."""

    queue: float
    tokenize: float
    encode: float
    decode: float
    total: float


class UsageBody(BaseModel):
    """Tokens: of the inputs with their `</s>`, of the reformulations without."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ReformulateResponse(BaseModel):
    """The answer to one request."""

    id: str
    model: str
    created: int
    results: list[ResultBody]
    timings_ms: TimingsBody
    usage: UsageBody
