"""LangChain: a Runnable from a query to its reformulations, and a retriever that uses them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field

from t5serve.adapters.fusion import WEIGHT, fuse, search_queries
from t5serve.results import ReformulateOptions, SupportsReformulate


class QueryReformulator(Runnable[str, list[str]]):
    """Takes a query, and returns its reformulations, best first; at least the query itself.

    Args:
        source: a `Reformulator` or a `Client`.
        options: of the reformulation.
    """

    def __init__(
        self, source: SupportsReformulate, options: ReformulateOptions | None = None
    ) -> None:
        self._source = source
        self._options = options or ReformulateOptions()

    def invoke(
        self,
        input: str,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,  # noqa: ANN401 - LangChain's signature
    ) -> list[str]:
        """Reformulates one query."""
        del kwargs
        return self._call_with_config(self._reformulate, input, config)

    async def ainvoke(
        self,
        input: str,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> list[str]:
        """Reformulates one query, in a thread."""
        return await run_in_executor(config, self.invoke, input, config, **kwargs)

    def batch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> list[list[str]]:
        """Reformulates all queries in one call."""
        del kwargs
        return self._batch_with_config(
            self._reformulate_all, inputs, config, return_exceptions=return_exceptions
        )

    def _reformulate(self, query: str) -> list[str]:
        (result,) = self._source.reformulate([query], **self._options)
        return result.queries

    def _reformulate_all(self, queries: list[str]) -> list[list[str] | Exception]:
        return [result.queries for result in self._source.reformulate(queries, **self._options)]


class ReformulatingRetriever(BaseRetriever):
    """Searches with a query and with its reformulations, and fuses the rankings.

    Attributes:
        retriever: searches with one query.
        source: a `Reformulator` or a `Client`.
        options: of the reformulation.
        weight: of each reformulation's ranking, where the query's has 1.
        limit: the most documents; None: all that were found.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    retriever: Runnable[str, list[Document]]
    source: Any
    options: dict[str, Any] = Field(default_factory=dict)
    weight: float = WEIGHT
    limit: int | None = None

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        (result,) = self.source.reformulate([query], **self.options)
        queries = search_queries(query, result.queries)
        config = RunnableConfig(callbacks=run_manager.get_child())
        rankings = self.retriever.batch(queries, config)
        return fuse(rankings, _key, self.weight)[: self.limit]


def _key(document: Document) -> Hashable:
    return document.id or document.page_content
