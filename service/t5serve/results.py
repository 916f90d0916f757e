"""The results of a reformulation as Python objects, and its options as keyword arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypedDict, Unpack

import msgspec

Strategy = Literal["auto", "greedy", "beam", "diverse_beam", "sample"]


class Reformulation(msgspec.Struct, frozen=True):
    """One reformulation of a query.

    Attributes:
        score: what ranks the reformulations; None for the query itself.
        model_score: the mean log-probability of the tokens; None for the query itself.
        rank: from 1, best first.
        tokens: the number of tokens; 0 for the query itself.
        source: `original` for the query itself.
    """

    text: str
    score: float | None
    model_score: float | None
    rank: int
    tokens: int
    source: Literal["model", "original"]


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of one query, with the fields of the answer of /v1/reformulate.

    Attributes:
        original: the query.
        queries: the texts of the reformulations, best first; never empty.
        reformulations: the same with scores.
        changed: whether some reformulation differs from the query.
        unchanged_reason: why the query itself is the answer, where that is no failure.
        fallback: whether the query could not be reformulated, and stands for its reformulation.
        fallback_reason: the code of the error that prevented a reformulation.
        cached: whether the result came from a cache.
    """

    id: str | None = None
    original: str
    queries: list[str]
    reformulations: list[Reformulation]
    changed: bool
    unchanged_reason: str | None
    fallback: bool
    fallback_reason: str | None
    cached: bool = False

    @classmethod
    def of_fallback(cls, query: str, reason: str) -> Result:
        """Returns the result of a query that could not be reformulated."""
        return cls(
            original=query,
            queries=[query],
            reformulations=[Reformulation(query, None, None, 1, 0, "original")],
            changed=False,
            unchanged_reason=None,
            fallback=True,
            fallback_reason=reason,
        )


class RankedDocument(msgspec.Struct, frozen=True):
    """A document, as /v1/rerank answers.

    Attributes:
        index: its index in the documents that were sent.
        relevance_score: the probability that it is relevant, from 0 to 1.
    """

    index: int
    document: str
    relevance_score: float


class RerankOptions(TypedDict, total=False):
    """The options of reranking, which docs/api.md describes."""

    top_n: int | None
    truncate: bool
    timeout_ms: int | None
    cache: bool


class ReformulateOptions(TypedDict, total=False):
    """The options of a reformulation, which docs/api.md describes."""

    task: str | None
    n: int | None
    strategy: Strategy
    max_tokens: int | None
    include_original: bool
    preserve: Sequence[str] | None
    terms: Sequence[str]
    history: Sequence[str]
    min_score: float | None
    min_difference: float
    timeout_ms: int | None
    strict: bool
    cache: bool
    num_beams: int | None
    num_beam_groups: int | None
    length_penalty: float | None
    diversity_penalty: float | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    repetition_penalty: float | None
    no_repeat_ngram_size: int | None
    seed: int | None


class SupportsReformulate(Protocol):
    """What reformulates queries: a `Reformulator` or a `Client`."""

    def reformulate(
        self, queries: str | Sequence[str], **options: Unpack[ReformulateOptions]
    ) -> list[Result]:
        """Returns the result of each query, in order."""
        ...


class SupportsAsyncReformulate(Protocol):
    """What reformulates queries asynchronously: an `AsyncReformulator` or an `AsyncClient`."""

    async def reformulate(
        self, queries: str | Sequence[str], **options: Unpack[ReformulateOptions]
    ) -> list[Result]:
        """Returns the result of each query, in order."""
        ...


def list_queries(queries: str | Sequence[str]) -> list[str]:
    """Returns the queries as a list; a single string is one query, not its characters."""
    return [queries] if isinstance(queries, str) else list(queries)
