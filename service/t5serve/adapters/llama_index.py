"""LlamaIndex: a query transform, for a TransformQueryEngine or a retriever."""

from __future__ import annotations

from typing import Any

from llama_index.core.indices.query.query_transform.base import BaseQueryTransform
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.schema import QueryBundle

from t5serve.adapters.fusion import search_queries
from t5serve.results import ReformulateOptions, SupportsReformulate


class QueryReformulator(BaseQueryTransform):
    """Adds the reformulations of a query to what is embedded in its place.

    The text of the query stays: it is what the answer is about. A retriever by vectors embeds the
    query and its reformulations, and searches with the mean.

    Args:
        source: a `Reformulator` or a `Client`.
        options: of the reformulation.
    """

    def __init__(
        self, source: SupportsReformulate, options: ReformulateOptions | None = None
    ) -> None:
        self._source = source
        self._options = options or ReformulateOptions()

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        del prompts

    def _run(self, query_bundle: QueryBundle, metadata: dict[str, Any]) -> QueryBundle:
        del metadata
        query = query_bundle.query_str
        (result,) = self._source.reformulate([query], **self._options)
        texts = search_queries(query, result.queries)
        return QueryBundle(query_str=query, custom_embedding_strs=texts)
