"""PyTerrier: a transformer of queries, to put before a retriever."""

from __future__ import annotations

import pandas as pd
import pyterrier as pt

from t5serve.adapters.fusion import search_queries
from t5serve.results import ReformulateOptions, SupportsReformulate


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
