"""PyTerrier: a transformer of queries to put before a retriever, and a reranker to put after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pandas as pd
import pyterrier as pt

from t5serve.adapters.fusion import search_queries
from t5serve.results import RankedDocument, ReformulateOptions, SupportsReformulate


class SupportsRerank(Protocol):
    """Something that orders documents: a `Client`."""

    def rerank(self, query: str, documents: Sequence[str]) -> Sequence[RankedDocument]:
        """Returns the documents, best first."""
        ...


class QueryReformulator(pt.Transformer):
    """Rewrites the column `query`; the query as it was is in `query_0`, as PyTerrier has it.

    A ranking by words takes the new query as a bag of words: with `keeps_query` the words of the
    query count once more for each reformulation that has them.

    Args:
        source: a `Reformulator` or a `Client`.
        options: of the reformulation.
        keeps_query: whether the query stands before its reformulations; else they stand alone.
    """

    def __init__(
        self,
        source: SupportsReformulate,
        options: ReformulateOptions | None = None,
        *,
        keeps_query: bool = True,
    ) -> None:
        super().__init__()
        self._source = source
        self._options = options or ReformulateOptions()
        self._keeps_query = keeps_query

    def transform(self, topics: pd.DataFrame) -> pd.DataFrame:
        """Rewrites all queries in one call."""
        pt.validate.query_frame(topics, extra_columns=["query"])
        queries = list(topics["query"])
        results = self._source.reformulate(queries, **self._options) if queries else []
        frame = pt.model.push_queries(topics, keep_original=False)
        frame["query"] = [
            " ".join(
                search_queries(result.original, result.queries)
                if self._keeps_query
                else result.queries
            )
            for result in results
        ]
        return frame


class Reranker(pt.Transformer):
    """Orders the documents of each query by their relevance, which is their new score.

    Args:
        source: a `Client` of a service with a model that reranks.
        query_field: the column of the query; "query_0": the query before it was rewritten.
        text_field: the column of the documents' texts.
    """

    def __init__(
        self, source: SupportsRerank, *, query_field: str = "query", text_field: str = "text"
    ) -> None:
        super().__init__()
        self._source = source
        self._query_field = query_field
        self._text_field = text_field

    def transform(self, results: pd.DataFrame) -> pd.DataFrame:
        """Reranks the results of each query in one call."""
        pt.validate.result_frame(results, extra_columns=[self._query_field, self._text_field])
        scores = pd.Series(index=results.index, dtype="float64")
        for _, found in results.groupby("qid", sort=False):
            query = results.loc[found.index[0], self._query_field]
            for document in self._source.rerank(query, list(found[self._text_field])):
                scores[found.index[document.index]] = document.relevance_score
        ranked = results.assign(score=scores)
        return pt.model.add_ranks(ranked).sort_values(["qid", "rank"]).reset_index(drop=True)
