"""POST /v1/reformulate: what it takes and what it gives."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, create_model, field_validator, model_validator

from t5engine.decoding.parameters import MAX_TOKENS, PARAMETERS
from t5serve.http.schemas.body import MAX_LIST, MAX_N, Described, Number, RequestBody, UsageBody
from t5serve.http.schemas.parameters import parameter_fields
from t5serve.reformulation.options import Options, Strategy
from t5serve.reformulation.preserve import ConstraintType
from t5serve.reformulation.reformulator import QueryResult

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
    """Comes back with the result."""
    text: str
    """The query."""

    @model_validator(mode="before")
    @classmethod
    def _plain_text(cls, value: Any) -> Any:  # noqa: ANN401 - any JSON
        return {"text": value} if isinstance(value, str) else value

    @field_validator("text")
    @classmethod
    def _not_blank(cls, text: str) -> str:
        return require_text(text)


class ReformulateFields(RequestBody):
    """One query or several, and how to reformulate them."""

    query: str | None = None
    """One query; this or `queries`."""
    queries: Annotated[
        list[QueryItem], Field(min_length=1, max_length=MAX_LIST, fail_fast=True)
    ] | (None) = None
    """Several queries, as strings or with an id each; at most T5SERVE_MAX_QUERIES."""
    task: str | None = None
    """One of the model's tasks; by default its first."""
    n: Annotated[int, Field(ge=1, le=MAX_N)] = 1
    """Reformulations of each query; no two are the same but for case, width or spaces."""
    strategy: Strategy = "auto"
    """How to decode. auto: as the other parameters ask for, else as the model wants it, else
    greedy for one and diverse beams for several."""
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    """Most tokens of a reformulation; at most the model's own limit counts."""
    include_original: bool = False
    """Puts the query itself first."""
    preserve: Annotated[
        list[ConstraintType], Field(default_factory=list, max_length=16, fail_fast=True)
    ]
    """Drops candidates that lose numbers, quoted phrases or capitalised names of the query."""
    min_difference: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """Drops candidates closer than this, in words, to the query or to one another."""
    timeout_ms: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    """Deadline of the whole request in milliseconds; at most T5SERVE_TIMEOUT_MS, the default."""
    strict: bool = False
    """An error instead of the original where there is nothing better."""
    cache: bool = True
    """Whether an answer may come from a cache. Without effect: there is none."""
    stream: bool = False
    """Server-sent events instead of one body."""

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
        parameters = {name: getattr(self, name) for name in PARAMETERS}
        return Options(
            task=self.task,
            n=self.n,
            strategy=self.strategy,
            parameters={name: value for name, value in parameters.items() if value is not None},
            max_tokens=self.max_tokens,
            include_original=self.include_original,
            preserve=frozenset(self.preserve),
            min_difference=self.min_difference,
            strict=self.strict,
            timeout_ms=self.timeout_ms or timeout_ms,
        )


if TYPE_CHECKING:
    ReformulateRequest = ReformulateFields
else:
    ReformulateRequest = create_model(
        "ReformulateRequest",
        __base__=ReformulateFields,
        __doc__=ReformulateFields.__doc__,
        __module__=__name__,
        **parameter_fields(),
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


class ReformulationBody(Described):
    """One candidate."""

    text: str
    """The reformulation."""
    score: float | None
    """Mean log-probability of its tokens; null for the original."""
    rank: int
    """From 1, best first."""
    tokens: int
    """How many it has."""
    source: Literal["model", "original"]
    """Whether the model wrote it, or it is the query itself."""


class ResultBody(Described):
    """What became of one query; `queries` is never empty."""

    id: str | None = None
    """As in the request, if there was one."""
    original: str
    """The query."""
    queries: list[str]
    """The texts of the reformulations, in order."""
    reformulations: list[ReformulationBody]
    """Best first."""
    fallback: bool
    """Whether the original stands in."""
    fallback_reason: str | None
    """Why: an error code."""
    cached: bool
    """Whether it came from a cache."""


def result_json(result: QueryResult, query_id: str | None) -> dict[str, Any]:
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


class TimingsBody(Described):
    """Milliseconds: the longest wait for a worker, the sums of the worker's phases, wall time."""

    queue: float
    """Longest wait of a query for a worker."""
    tokenize: float
    """Text to tokens, all queries together."""
    encode: float
    """The encoder, all queries together."""
    decode: float
    """The decoder, all queries together."""
    total: float
    """From the request to the answer."""


class ReformulateRest(Described):
    """What an answer has besides its results; the data of a stream's last event."""

    id: str
    """Of this answer."""
    model: str
    """Its name."""
    created: int
    """Unix time in seconds."""
    timings_ms: TimingsBody
    """Where the time went."""
    usage: UsageBody
    """Tokens."""


class ReformulateResponse(ReformulateRest):
    """The answer to one request."""

    results: list[ResultBody]
    """One for each query, in order."""
