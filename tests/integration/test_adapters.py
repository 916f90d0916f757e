"""The adapters, each with the real package of its framework."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from support.included import SEARCH
from support.scripted_service import error, serve
from support.serving import Server
from t5serve import Client, Reformulator
from t5serve.adapters.fusion import fuse

pytestmark = pytest.mark.filterwarnings("default")  # the frameworks' own are not ours

QUERY = "how do i clean a laptop screen"
DOCUMENTS = [
    "how to clean the screen of a laptop",
    "a screen for your windows",
    "laptops and their batteries",
    "cooking eggs for a party",
]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as one:
        yield one


@pytest.fixture(scope="module")
def wordings(client: Client) -> list[str]:
    """Three wordings of the query, as the service gives them."""
    (result,) = client.reformulate(QUERY, task="paraphrase", n=3)
    assert len(result.queries) == 3
    return result.queries


def rank(query: str) -> list[str]:
    """Ranks documents by the words that they share with a query."""
    words = set(query.split())
    found = [text for text in DOCUMENTS if words & set(text.split())]
    return sorted(found, key=lambda text: -len(words & set(text.split())))


def test_fusion_is_weighted_reciprocal_rank() -> None:
    """A document's score is the sum of w / (60 + rank), with 1 for the query's own ranking."""
    rankings: Sequence[Sequence[str]] = [["a", "b"], ["c", "b"], ["c", "d"]]
    # a: 1/61 = 0.0164, b: 1.3/62 = 0.0210, c: 0.6/61 = 0.0098, d: 0.3/62 = 0.0048
    assert fuse(rankings, str) == ["b", "a", "c", "d"]
    # With weight 1: b 2/62 = 0.0323, c 2/61 = 0.0328, a 1/61 = 0.0164, d 1/62 = 0.0161
    assert fuse(rankings, str, weight=1.0) == ["c", "b", "a", "d"]


def test_langchain_runnable(client: Client, wordings: list[str]) -> None:
    """It composes with other Runnables, alone, in batches and asynchronously."""
    import asyncio

    from langchain_core.runnables import RunnableLambda

    from t5serve.adapters.langchain import QueryReformulator

    reformulator = QueryReformulator(client, {"task": "paraphrase", "n": 3})
    assert reformulator.invoke(QUERY) == wordings
    chain = reformulator | RunnableLambda(len)
    assert chain.batch([QUERY] * 2) == [3] * 2
    assert reformulator.batch([QUERY, "what is a black hole"])[0] == wordings
    assert asyncio.run(reformulator.ainvoke(QUERY)) == wordings


def test_langchain_retriever(client: Client, wordings: list[str]) -> None:
    """It finds what the fusion of all rankings has, the query's own with weight 1."""
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever

    from t5serve.adapters.langchain import ReformulatingRetriever

    asked: list[str] = []

    class Words(BaseRetriever):
        """Ranks by words."""

        def _get_relevant_documents(
            self, query: str, *, run_manager: CallbackManagerForRetrieverRun
        ) -> list[Document]:
            del run_manager
            asked.append(query)
            return [Document(page_content=text) for text in rank(query)]

    retriever = ReformulatingRetriever(
        retriever=Words(), source=client, options={"task": "paraphrase", "n": 3}
    )
    found = [document.page_content for document in retriever.invoke(QUERY)]
    assert sorted(asked) == sorted([QUERY, *wordings])
    assert found == fuse([rank(query) for query in [QUERY, *wordings]], str)
    limited = ReformulatingRetriever(retriever=Words(), source=client, limit=1)
    assert [document.page_content for document in limited.invoke(QUERY)] == found[:1]


def test_llama_index_query_transform(client: Client, wordings: list[str]) -> None:
    """A query engine's query keeps its text, and is embedded with its reformulations."""
    from llama_index.core import QueryBundle
    from llama_index.core.query_engine import CustomQueryEngine, TransformQueryEngine

    from t5serve.adapters.llama_index import QueryReformulator

    class Echo(CustomQueryEngine):
        """Answers with what it was asked."""

        def custom_query(self, query_str: str) -> str:
            return query_str

    transform = QueryReformulator(client, {"task": "paraphrase", "n": 3})
    bundle = transform.run(QUERY)
    assert (bundle.query_str, bundle.embedding_strs) == (QUERY, [QUERY, *wordings])
    assert transform.run(QueryBundle(QUERY)) == bundle
    engine = TransformQueryEngine(Echo(), query_transform=transform)
    assert str(engine.query(QUERY)) == QUERY


def test_haystack_component(
    server: Server, wordings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs in a pipeline, which can be written to a file and read again."""
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    from haystack import Pipeline, component

    from t5serve.adapters.haystack import QueryReformulator

    @component
    class Words:
        """Ranks by words."""

        @component.output_types(texts=list[list[str]])
        def run(self, queries: list[str]) -> dict[str, list[list[str]]]:
            return {"texts": [rank(query) for query in queries]}

    reformulator = QueryReformulator(server.url, options={"task": "paraphrase", "n": 3})
    pipeline = Pipeline()
    pipeline.add_component("reformulator", reformulator)
    pipeline.add_component("words", Words())
    pipeline.connect("reformulator.queries", "words.queries")
    answer = pipeline.run({"reformulator": {"query": QUERY}})
    assert answer["words"]["texts"] == [rank(query) for query in [QUERY, *wordings]]
    again = QueryReformulator.from_dict(reformulator.to_dict())
    assert again.run(query=QUERY) == {"queries": [QUERY, *wordings]}
    for one in (reformulator, again):
        one.close()
    alone = QueryReformulator(model="tiny-t5", include_original=False)
    assert alone.run(query=QUERY) == {"queries": [SEARCH]}
    alone.close()
    with pytest.raises(ValueError, match="exactly one of url and model"):
        QueryReformulator()


def test_pyterrier_pipeline(client: Client) -> None:
    """It rewrites the queries of a pipeline over bm25s, and keeps them in `query_0`."""
    pt: Any = pytest.importorskip("pyterrier")
    import bm25s
    import pandas as pd

    from t5serve.adapters.pyterrier import QueryReformulator

    index = bm25s.BM25()
    index.index(bm25s.tokenize(DOCUMENTS, show_progress=False), show_progress=False)

    class Bm25(pt.Transformer):  # type: ignore[misc]
        """Ranks with bm25s."""

        def transform(self, topics: Any) -> Any:
            tokens = bm25s.tokenize(list(topics["query"]), show_progress=False)
            numbers, scores = index.retrieve(tokens, k=4, show_progress=False)
            rows = [
                {**topic, "docno": str(number), "rank": place, "score": float(score)}
                for topic, *ranking in zip(topics.to_dict("records"), numbers, scores, strict=True)
                for place, (number, score) in enumerate(zip(*ranking, strict=True))
            ]
            return pd.DataFrame(rows)

    topics = pd.DataFrame([{"qid": "1", "query": QUERY}, {"qid": "2", "query": "cook eggs"}])
    (first, second) = client.reformulate(list(topics["query"]))
    rewritten = QueryReformulator(client)(topics)
    assert list(rewritten["query_0"]) == list(topics["query"])
    assert rewritten["query"][0] == f"{QUERY} {first.queries[0]}"
    alone = QueryReformulator(client, keeps_query=False)(topics)
    assert list(alone["query"]) == [first.queries[0], second.queries[0]]
    assert list(QueryReformulator(client)(topics[:0])["qid"]) == []
    found = (QueryReformulator(client) >> Bm25())(topics)
    best = found[found["rank"] == 0].set_index("qid")
    assert best["docno"]["1"] == "0"
    assert best["docno"]["2"] == "3"


def test_a_search_goes_on_without_the_service() -> None:
    """Where the service is overloaded, an adapter gives the query itself."""
    from t5serve.adapters.langchain import QueryReformulator

    with (
        serve(*[error(429, "queue_full")] * 2) as service,
        Client(service.url, retries=1) as client,
    ):
        assert QueryReformulator(client).invoke(QUERY) == [QUERY]


def test_a_model_in_this_process_serves_as_well() -> None:
    """An adapter takes a Reformulator where it takes a Client."""
    from t5serve.adapters.langchain import QueryReformulator

    with Reformulator("tiny-t5", threads=1) as reformulator:
        found = QueryReformulator(reformulator).invoke(QUERY)
    assert found == [SEARCH]
