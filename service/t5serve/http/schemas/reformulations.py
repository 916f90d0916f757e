"""POST /v1/reformulate: the bodies of its answers."""

from __future__ import annotations

from typing import Any, Literal

from t5serve.http.schemas.body import DescribedBody, UsageBody
from t5serve.reformulation.candidates import UnchangedReason
from t5serve.reformulation.results import QueryResult


class ReformulationBody(DescribedBody):
    """One reformulation of a query."""

    text: str
    """The text of the reformulation."""
    score: float | None
    """The score that ranks the reformulation; null for the original query. The queries of a list
    share the list's."""
    model_score: float | None
    """The mean log-probability of the tokens; null for the original query. The queries of a list
    share the list's."""
    rank: int
    """The rank of the reformulation, from 1, best first; the queries of a list are in its
    order."""
    tokens: int
    """The number of tokens; 0 for the original query. Of a query in a list, its own."""
    source: Literal["model", "original"]
    """The source of the text: `model`, or `original` for the query itself."""


class ResultBody(DescribedBody):
    """The result of one query."""

    id: str | None = None
    """The id of the query; present if the request sets an id."""
    original: str
    """The query as it was sent."""
    queries: list[str]
    """The texts of the reformulations, best first; never empty."""
    reformulations: list[ReformulationBody]
    """The reformulations with score and rank, best first."""
    changed: bool
    """Whether some reformulation differs from the query."""
    unchanged_reason: UnchangedReason | None
    """Why the query itself is the answer, where that is no failure. `already_good`: the model's
    best is the query. `guard`: no candidate kept what it must. `language`, `code`, `identifier`,
    `name`: the task leaves such queries alone. `too_long_to_rewrite`: the query has more tokens
    than the task rewrites. Null if the query was changed."""
    fallback: bool
    """Whether the original query is the result because the query could not be reformulated."""
    fallback_reason: str | None
    """The error code that caused the fallback; null without a fallback."""
    cached: bool
    """Whether nothing was decoded for this query: the output was in the cache, or an equal request
    was already being decoded, and this one used its output. Then `queue` in `timings_ms` is the
    time until the output was there, and the other times are 0."""


def result_json(result: QueryResult, query_id: str | None) -> dict[str, Any]:
    """Builds the JSON of one result; the result has an id only if the query has an id."""
    body = ResultBody(
        original=result.original,
        queries=[candidate.text for candidate in result.reformulations],
        reformulations=[
            ReformulationBody(**vars(candidate)) for candidate in result.reformulations
        ],
        changed=result.unchanged_reason is None and result.fallback_reason is None,
        unchanged_reason=result.unchanged_reason,
        fallback=result.fallback_reason is not None,
        fallback_reason=result.fallback_reason,
        cached=result.cached,
    ).model_dump(exclude_unset=True)
    return body if query_id is None else {"id": query_id, **body}


class TimingsBody(DescribedBody):
    """The durations of the phases of a request, in milliseconds."""

    queue: float
    """The longest time that a query of the request waited for a worker."""
    tokenize: float
    """The time of tokenisation, summed over the queries."""
    encode: float
    """The time of the encoder, summed over the queries."""
    decode: float
    """The time of the decoder, summed over the queries."""
    total: float
    """The wall time from the request to the answer."""


class ReformulateSummary(DescribedBody):
    """The part of an answer that concerns the whole request; the data of a stream's last event."""

    id: str
    """The unique id of this response."""
    model: str
    """The name of the model."""
    created: int
    """The time of the response, as Unix time in seconds."""
    timings_ms: TimingsBody
    """The durations of the phases of the request."""
    usage: UsageBody
    """The number of tokens that the request used."""


class ReformulateResponse(ReformulateSummary):
    """The answer to a reformulation request."""

    results: list[ResultBody]
    """One result per query, in the order of the queries."""
