"""Clients of other rerankers, unmodified, and this project's own."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from string import Template
from typing import Any

import cohere
import httpx
import pytest

from support.reading import read_json_path
from support.serving import Server, free_port
from t5serve import AsyncClient, Client
from t5serve.errors import InvalidRequest, NotReady

QUERY = "how do i clean a laptop screen"
DOCUMENTS = [
    "Wipe the display with a soft, slightly damp cloth.",
    "The best laptops of the year, tested.",
    "How to cook rice.",
]


@pytest.fixture
def expected(rerank_server: Server) -> list[tuple[int, float]]:
    """Index and relevance of each document, as the service answers a plain request."""
    body = {"query": QUERY, "documents": DOCUMENTS}
    results = httpx.post(f"{rerank_server.url}/v1/rerank", json=body).json()["results"]
    return [(result["index"], result["relevance_score"]) for result in results]


def test_cohere_s_client(rerank_server: Server, expected: list[tuple[int, float]]) -> None:
    """Cohere's SDK with another base URL, in its second version."""
    with httpx.Client() as http:
        client = cohere.ClientV2(api_key="none", base_url=rerank_server.url, httpx_client=http)
        response = client.rerank(
            model="reranked",
            query=QUERY,
            documents=DOCUMENTS,
            top_n=2,
            max_tokens_per_doc=4096,
            priority=1,
        )
    assert [(one.index, one.relevance_score) for one in response.results] == expected[:2]
    assert response.id


def test_cohere_s_first_client(rerank_server: Server, expected: list[tuple[int, float]]) -> None:
    """The same SDK in its first version, with documents as objects."""
    with httpx.Client() as http:
        client = cohere.Client(api_key="none", base_url=rerank_server.url, httpx_client=http)
        response = client.rerank(
            model="reranked",
            query=QUERY,
            documents=[{"text": text} for text in DOCUMENTS],
            rank_fields=["text"],
            return_documents=True,
        )
    assert [(one.index, one.relevance_score) for one in response.results] == expected
    texts = [one.document.text for one in response.results if one.document is not None]
    assert texts == [DOCUMENTS[index] for index, _ in expected]


def test_cohere_s_error(rerank_server: Server) -> None:
    """The SDK raises its error of a bad request."""
    with httpx.Client() as http:
        client = cohere.ClientV2(api_key="none", base_url=rerank_server.url, httpx_client=http)
        with pytest.raises(cohere.BadRequestError, match="must not be blank"):
            client.rerank(model="reranked", query=QUERY, documents=["a", ""])


def test_jina_s_form(rerank_server: Server, expected: list[tuple[int, float]]) -> None:
    """The request that LangChain's JinaRerank (langchain-community 0.4.2) sends: its form."""
    body = {"query": QUERY, "documents": DOCUMENTS, "model": "reranked", "top_n": None}
    headers = {
        "authorization": "Bearer none",
        "accept-encoding": "identity",
        "user-agent": "langchain",
    }
    response = httpx.post(f"{rerank_server.url}/v1/rerank", json=body, headers=headers).json()
    assert [(one["index"], one["relevance_score"]) for one in response["results"]] == expected


SEARCH_PAGE = Path(__file__).parents[2] / "docs" / "search.md"


def test_elasticsearch_s_form(rerank_server: Server, expected: list[tuple[int, float]]) -> None:
    """Elasticsearch fills the template of docs/search.md with JSON, and reads by its paths."""
    (block,) = re.findall(r"```json\n(.*?)```", SEARCH_PAGE.read_text(encoding="utf-8"), re.DOTALL)
    settings = json.loads(block)
    values = {
        "model_id": "reranked",
        "query": json.dumps(QUERY),
        "input": json.dumps(DOCUMENTS),
        "top_n": "3",
        "return_documents": "true",
    }
    body = Template(settings["request"]).substitute(values)
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{rerank_server.url}/v1/rerank", content=body, headers=headers).json()
    columns = [
        read_json_path(answer, path) for path in settings["response"]["json_parser"].values()
    ]
    assert list(zip(columns[0], columns[1], strict=True)) == expected
    assert columns[2] == [DOCUMENTS[index] for index in columns[0]]


def test_our_client(rerank_server: Server, expected: list[tuple[int, float]]) -> None:
    """Client and AsyncClient give the documents with their texts."""

    async def ask() -> Any:
        async with AsyncClient(rerank_server.url, model="reranked") as client:
            return await client.rerank(QUERY, DOCUMENTS, top_n=2, timeout_ms=5000)

    with Client(rerank_server.url) as client:
        ranked = client.rerank(QUERY, DOCUMENTS)
    assert [(one.index, one.relevance_score) for one in ranked] == expected
    assert [one.document for one in ranked] == [DOCUMENTS[index] for index, _ in expected]
    assert asyncio.run(ask()) == ranked[:2]


def test_our_client_s_errors(rerank_server: Server) -> None:
    """Reranking never falls back: what is refused or can't be reached is raised."""
    with Client(rerank_server.url) as client, pytest.raises(InvalidRequest, match="blank") as error:
        client.rerank(QUERY, ["a", " "])
    assert error.value.param == "documents[1]"
    with (
        Client(f"http://127.0.0.1:{free_port()}", retries=0) as client,
        pytest.raises(NotReady, match="can't be reached"),
    ):
        client.rerank(QUERY, DOCUMENTS)
