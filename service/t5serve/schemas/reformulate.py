"""POST /v1/reformulate: what it takes and what it gives."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from t5serve.decoding.config import MAX_WIDTH
from t5serve.engine.config import MAX_TOKENS
from t5serve.reformulation.options import PARAMETERS, Options, Strategy
from t5serve.reformulation.preserve import Kind
from t5serve.reformulation.reformulator import Reformulated
from t5serve.schemas.body import MAX_LIST, MAX_N, Number, RequestBody, UsageBody

Beams = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
MAX_MARKS = 30  # in a row: the stream-safe format of UAX #15; more take quadratic time to order


def _or_plain_text(schema: dict[str, Any]) -> None:
    """What `_plain_text` lets through, told to the document."""
    whole = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "string"}, whole]


class QueryItem(RequestBody):
    """One of several queries; `id` comes back with its result."""

    model_config = ConfigDict(json_schema_extra=_or_plain_text)

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
    queries: Annotated[
        list[QueryItem], Field(min_length=1, max_length=MAX_LIST, fail_fast=True)
    ] | (None) = None
    task: str | None = None
    n: Annotated[int, Field(ge=1, le=MAX_N)] = 1
    strategy: Strategy = "auto"
    num_beams: Beams | None = None
    num_beam_groups: Beams | None = None
    length_penalty: Annotated[Number, Field(ge=-100, le=100)] | None = None
    diversity_penalty: Annotated[Number, Field(ge=0, le=100)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=100)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[Number, Field(ge=0.01, le=100)] | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    include_original: bool = False
    preserve: Annotated[list[Kind], Field(default_factory=list, max_length=16, fail_fast=True)]
    min_difference: Annotated[Number, Field(ge=0, le=1)] = 0.0
    timeout_ms: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    strict: bool = False
    cache: bool = True
    stream: bool = False

    @field_validator("query")
    @classmethod
    def _not_blank(cls, query: str | None) -> str | None:
        return None if query is None else require_text(query)

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

    def options(self, timeout_ms: int) -> Options:
        """What is asked of every query; `timeout_ms` where none was given."""
        given = {name: getattr(self, name) for name in PARAMETERS}
        return Options(
            task=self.task,
            n=self.n,
            strategy=self.strategy,
            parameters={name: value for name, value in given.items() if value is not None},
            max_tokens=self.max_tokens,
            include_original=self.include_original,
            preserve=frozenset(self.preserve),
            min_difference=self.min_difference,
            strict=self.strict,
            timeout_ms=self.timeout_ms or timeout_ms,
        )


def require_text(text: str) -> str:
    """The text, unless it shows nothing: then a ValueError."""
    # Categories C (control, format, unassigned) and Z (separators) show nothing.
    if not text.strip() or all(unicodedata.category(c)[0] in "CZ" for c in text.strip()):
        raise ValueError("must not be blank")
    marks = 0
    for c in "" if text.isascii() else text:
        marks = marks + 1 if unicodedata.combining(c) else 0
        if marks > MAX_MARKS:
            raise ValueError(f"must not have more than {MAX_MARKS} combining marks in a row")
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


def result_json(result: Reformulated, query_id: str | None) -> dict[str, Any]:
    """What became of one query, as it is sent; it has an id if the query had."""
    body = ResultBody(
        original=result.original,
        queries=[one.text for one in result.reformulations],
        reformulations=[ReformulationBody(**vars(one)) for one in result.reformulations],
        fallback=result.fallback_reason is not None,
        fallback_reason=result.fallback_reason,
        cached=False,
    ).model_dump(exclude_unset=True)
    return body if query_id is None else {"id": query_id, **body}


class TimingsBody(BaseModel):
    """Milliseconds: the longest wait for a worker, the sums of the worker's phases, wall time."""

    queue: float
    tokenize: float
    encode: float
    decode: float
    total: float


class ReformulateRest(BaseModel):
    """What an answer has besides its results; the data of a stream's last event."""

    id: str
    model: str
    created: int
    timings_ms: TimingsBody
    usage: UsageBody


class ReformulateResponse(ReformulateRest):
    """The answer to one request."""

    results: list[ResultBody]
