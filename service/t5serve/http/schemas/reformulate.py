"""POST /v1/reformulate: the body of its requests."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, Field, create_model, field_validator, model_validator

from t5engine.decoding.parameters import MAX_TOKENS, PARAMETERS
from t5gguf.tasks import Preserved
from t5serve.http.schemas.body import (
    MAX_LIST,
    MAX_N,
    WHOLE,
    Number,
    RequestBody,
    refusal,
)
from t5serve.http.schemas.parameters import parameter_fields
from t5serve.reformulation.options import Options, Strategy
from t5serve.reformulation.profile import Profile

Term = Annotated[str, Field(min_length=1, max_length=200)]
MAX_TURNS = 20  # of a conversation
MAX_MARKS = 30  # combining marks in a row, as in UAX #15's stream-safe format; sorting is quadratic


def _allow_plain_text(schema: dict[str, Any]) -> None:
    """Adds plain strings to a schema, because `_parse_plain_text` accepts them."""
    item_schema = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "string"}, item_schema]


class QueryItem(RequestBody):
    """One query of several, with an optional id."""

    model_config = ConfigDict(json_schema_extra=_allow_plain_text)

    id: str | None = None
    """An id of the query, which its result repeats."""
    text: str
    """The text of the query."""

    @model_validator(mode="before")
    @classmethod
    def _parse_plain_text(cls, value: Any) -> Any:  # noqa: ANN401 - any JSON
        return {"text": value} if isinstance(value, str) else value

    @field_validator("text")
    @classmethod
    def _not_blank(cls, text: str) -> str:
        return require_text(text)


class ReformulateFields(RequestBody):
    """One query or several, and the options of their reformulation."""

    model: str | None = None
    """The name of the model; by default the first that is served."""
    query: str | None = None
    """A single query. Exactly one of `query` and `queries` is required."""
    queries: Annotated[
        list[QueryItem], Field(min_length=1, max_length=MAX_LIST, fail_fast=True)
    ] | (None) = None
    """Several queries, as strings or as objects with an id; at most T5SERVE_MAX_QUERIES. Exactly
    one of `query` and `queries` is required."""
    task: str | None = None
    """The task of the model to use; by default the model's first task."""
    n: Annotated[int, Field(ge=1, le=MAX_N), WHOLE] | None = None
    """The most reformulations of each query; by default the task's: 5 for `search` of the included
    model, 1 for most other tasks. Texts that differ only in case, width, spaces or sentence
    punctuation are treated as the same text. Tasks that correct errors, such as `fix`, treat texts
    with different punctuation as different. If the model writes lists of queries, `n` is the most
    queries of a list. If the best list is shorter than an `n` of the request, missing queries are
    taken from the next best lists."""
    strategy: Strategy = "auto"
    """The decoding strategy. `auto` selects the strategy that the other parameters imply, else the
    model's default. Without either, several reformulations use diverse beam search (several lists
    of queries: beam search). One reformulation uses beam search if guards or filters can drop
    candidates, else greedy decoding. With guards and no generation parameters except `max_tokens`,
    greedy decoding is tried first, except in a task that corrects."""
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS), WHOLE] | None = None
    """The most tokens of a reformulation; values above the model's limit are lowered to it."""
    include_original: bool = False
    """Whether the query itself comes first, in addition to the reformulations."""
    preserve: Annotated[list[Preserved], Field(max_length=16, fail_fast=True)] | None = None
    """The guards to apply; by default the task's. Each drops candidates that lose a part of the
    query: `numbers`, `quoted` phrases, `capitalised` names, `identifiers` (flags, paths, part
    numbers, addresses, names from code), `negation` (also drops antonyms and exchanged directions),
    `rare` words, `content` words (or near synonyms), `keywords` (all content words of a short
    query, most of a long one), `aspects` (the content words, but "how tall" may become "height").
    `content`, `keywords` and `aspects` also drop other content words. Every guard drops added
    numbers. `negation`, `rare`, `content`, `keywords` and `aspects` are for English, and drop words
    that are not English. Of a list of queries, at least one query must keep each part; with `rare`,
    each query must have a rare word or a name of the original, or two of its content words, or no
    other content words. An empty list turns all guards off. Then the service also rewrites queries
    that the task would leave unchanged, such as code or names. The task's `min_score` does not
    apply, and only a task such as `fix` corrects typing errors."""
    terms: Annotated[list[Term], Field(default_factory=list, max_length=64, fail_fast=True)]
    """Words and phrases that every reformulation must contain as they are; of a list of queries,
    at least one query."""
    history: Annotated[list[str], Field(default_factory=list, max_length=MAX_TURNS, fail_fast=True)]
    """The earlier turns of the conversation, oldest first: questions, and answers if the model was
    trained with them. Only for a task that takes turns. Where they are too long, the oldest are
    left out, if the task says so. A reformulation may have words, numbers and names of the
    turns."""
    min_score: Annotated[Number, Field(le=0)] | None = None
    """The least score of a reformulation; by default the task's. Candidates below are dropped."""
    min_difference: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """Drops candidates that are too similar to the query or to a better candidate. The
    difference is the edit distance in words, divided by the words of the longer text."""
    timeout_ms: Annotated[int, Field(ge=1, lt=2**31), WHOLE] | None = None
    """The deadline of the whole request in milliseconds; by default and at most
    T5SERVE_TIMEOUT_MS."""
    strict: bool = False
    """Whether a failed query is an error, instead of a fallback to the original query."""
    cache: bool = True
    """Whether the model's answer may come from the cache of results, and go there. Samples without
    a `seed` are never cached."""
    stream: bool = False
    """Whether to answer with server-sent events instead of a single body. `event: token` has the
    next part of a text, with its `query_index` and `rank`; each query of a list has a rank, and is
    sent once it is complete."""

    @field_validator("query")
    @classmethod
    def _not_blank(cls, query: str | None) -> str | None:
        return None if query is None else require_text(query)

    @field_validator("history")
    @classmethod
    def _no_blank_turn(cls, history: list[str]) -> list[str]:
        for turn in history:
            require_text(turn)
        return history

    @model_validator(mode="after")
    def _require_query_or_queries(self) -> Self:
        if (self.query is None) == (self.queries is None):
            param = "query" if self.query is None else "queries"
            raise refusal(param, "exactly one of query and queries is required")
        return self

    def items(self) -> list[QueryItem]:
        """The queries of the request, also of a single `query`."""
        if self.queries is not None:
            return self.queries
        return [QueryItem(text=self.query or "")]

    @property
    def params(self) -> list[str]:
        """The path of each query in the request."""
        if self.queries is None:
            return ["query"]
        return [f"queries[{index}]" for index in range(len(self.queries))]

    def options(self, timeout_ms: int, profile: Profile) -> Options:
        """Builds the options of the request.

        Args:
            timeout_ms: the deadline of a request that sets none.
            profile: the model's; its task gives the defaults.

        Raises:
            InvalidRequest: the model has no such task, or an option has no meaning for the task.
        """
        alias = profile.aliases.get(self.task or "")
        if alias is None:
            return self._options(timeout_ms, profile, self.task)
        return replace(
            self._options(timeout_ms, profile, alias.questions),
            for_keywords=self._options(timeout_ms, profile, alias.keywords),
        )

    def _options(self, timeout_ms: int, profile: Profile, task: str | None) -> Options:
        parameters = {name: getattr(self, name) for name in PARAMETERS}
        return Options.for_task(
            profile.task(task),
            task=task,
            n=self.n,
            strategy=self.strategy,
            parameters={name: value for name, value in parameters.items() if value is not None},
            max_tokens=self.max_tokens,
            include_original=self.include_original,
            preserve=None if self.preserve is None else frozenset(self.preserve),
            terms=tuple(self.terms),
            history=tuple(self.history),
            min_score=self.min_score,
            min_difference=self.min_difference,
            strict=self.strict,
            cache=self.cache,
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
    """Returns the text if it is a possible query.

    Raises:
        ValueError: the text is blank, or has too many combining marks in a row.
    """
    # Characters of the categories C (control, format, unassigned) and Z (separators) are invisible.
    if not text.strip() or all(unicodedata.category(c)[0] in "CZ" for c in text.strip()):
        raise ValueError("must not be blank")
    run = 0  # of combining marks
    for c in "" if text.isascii() else text:
        run = run + 1 if unicodedata.combining(c) else 0
        if run > MAX_MARKS:
            raise ValueError(f"must not have more than {MAX_MARKS} combining marks in a row")
    return text
