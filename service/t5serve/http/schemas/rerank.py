"""POST /v1/rerank and /v2/rerank: reranking in Cohere's and Jina's form."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from t5serve.errors import InvalidRequest
from t5serve.http.schemas.body import WHOLE, DescribedBody, refusal
from t5serve.http.schemas.completions import NullableBody, single_message
from t5serve.http.schemas.reformulate import require_text

MAX_DOCUMENTS = 1000


class DocumentBody(DescribedBody):
    """A document with its text; fields not listed here are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    text: str
    """The text of the document."""


Document = Annotated[
    str | DocumentBody, single_message('must be a string, or an object with the string "text"')
]


class RerankRequest(NullableBody):
    """A query, and the documents to order by their relevance for it.

    Some fields of Cohere's and Jina's APIs are accepted without effect.
    """

    model: str | None = None
    """The name of the model; by default the first that is served. The model must rerank."""
    query: str
    """The query."""
    documents: Annotated[
        list[Document], Field(min_length=1, max_length=MAX_DOCUMENTS, fail_fast=True)
    ]
    """The documents, as strings or as objects with a `text`; at most 1,000, none blank."""
    top_n: Annotated[int, Field(ge=1, lt=2**31), WHOLE] | None = None
    """The most documents in the answer; by default all."""
    return_documents: bool = False
    """Whether the answer has the texts of the documents."""
    truncate: bool = True
    """Whether the end of a document that is too long is left out; else the request is refused."""
    truncation: bool | None = None
    """The same as `truncate`, as some clients name the field."""
    timeout_ms: Annotated[int, Field(ge=1, lt=2**31), WHOLE] | None = None
    """The deadline of the whole request in milliseconds; by default and at most
    T5SERVE_TIMEOUT_MS. If it passes, or the service expects that, the answer is 504."""
    cache: bool = True
    """Whether the relevance of a document may come from the cache of results, and go there."""
    rank_fields: list[str] | None = None
    """Must be `["text"]`."""
    max_chunks_per_doc: Annotated[int, Field(ge=1), WHOLE] | None = None
    """Must be 1; a document is judged as a whole."""
    max_tokens_per_doc: Annotated[int, Field(ge=1), WHOLE] | None = None
    """Must not be below the model's `max_input_tokens`, to which inputs are shortened."""
    priority: Annotated[int, Field(ge=0, le=999), WHOLE] | None = None
    """Accepted without effect: clients take turns."""
    return_embeddings: Literal[False] | None = None
    """Must be false; the model has no embeddings of documents."""

    @field_validator("query")
    @classmethod
    def _not_blank(cls, query: str) -> str:
        return require_text(query)

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        for index, text in enumerate(self.texts):
            if not text.strip():
                raise refusal(f"documents[{index}]", f"documents[{index}]: must not be blank")
        if self.rank_fields not in (None, ["text"]):
            raise refusal("rank_fields", 'rank_fields: must be ["text"], the only field judged')
        if self.max_chunks_per_doc not in (None, 1):
            raise refusal(
                "max_chunks_per_doc", "max_chunks_per_doc: must be 1; documents are not split"
            )
        return self

    @property
    def texts(self) -> list[str]:
        """The text of each document."""
        return [
            document if isinstance(document, str) else document.text for document in self.documents
        ]

    @property
    def truncates(self) -> bool:
        """Whether the end of a document that is too long is left out."""
        return self.truncate if self.truncation is None else self.truncation

    def check_limits(self, max_input_tokens: int, timeout_ms: int) -> None:
        """Refuses what a model or the service does not support.

        Args:
            max_input_tokens: the most tokens of an input of the model.
            timeout_ms: the longest deadline of a request.

        Raises:
            InvalidRequest: documents were to be shortened further than to an input, or the deadline
                is too long.
        """
        if (limit := self.max_tokens_per_doc) is not None and limit < max_input_tokens:
            raise InvalidRequest(
                f"max_tokens_per_doc: must be at least {max_input_tokens}, to which inputs are"
                " shortened",
                param="max_tokens_per_doc",
            )
        if self.timeout_ms is not None and self.timeout_ms > timeout_ms:
            raise InvalidRequest(f"timeout_ms: must be at most {timeout_ms}", param="timeout_ms")


class RankedBody(DescribedBody):
    """A document of the answer."""

    index: int
    """The index of the document in the request."""
    relevance_score: float
    """The probability that the document is relevant, from 0 to 1."""
    document: DocumentBody | None = None
    """The document, if the request asks for documents; else the field is absent."""


class RerankUsage(DescribedBody):
    """The number of tokens that the request used."""

    total_tokens: int
    """The tokens of all inputs: the query counts once for each document."""


class RerankResponse(DescribedBody):
    """The answer to a rerank request."""

    id: str
    """The unique id of this response."""
    model: str
    """The name of the model."""
    results: list[RankedBody]
    """The documents, best first; equally relevant ones in the order of the request."""
    usage: RerankUsage
    """The tokens that the model read."""

    def to_json(self) -> dict[str, Any]:
        """Returns the body; results without a document lack the field."""
        return self.model_dump(exclude_none=True)
