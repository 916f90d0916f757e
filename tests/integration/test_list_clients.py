"""Lists of queries as people's clients see them: chats, frameworks, the command line, the docs."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from os import environ
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from support import listed
from support.parity import golden
from support.serving import Server
from t5serve.http.examples import LIST_ANSWER, LIST_REQUEST

pytestmark = pytest.mark.filterwarnings("default")  # the clients' own are not ours

EXPECTED = ["nikola tesla lifespan", "milutin milankovic lifespan"]
NORWAY = "area and population of norway and sweden"
COUNTRIES = ["norway area", "norway population", "sweden area", "sweden population"]
DOCS = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.fixture(scope="module")
def url(list_server: Server) -> Iterator[str]:
    yield f"{list_server.url}/v1"
    gc.collect()  # what clients leave open is told here, where it is let through


@pytest.fixture
def given(url: str) -> Iterator[dict[str, Any]]:
    """What LangChain's clients are given; with an HTTP client that is closed."""
    with httpx.Client(timeout=60) as http:
        yield {"base_url": url, "api_key": "none", "model": "listed", "http_client": http}


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def chat(client: OpenAI, query: str, **options: Any) -> Any:
    messages: Any = [{"role": "user", "content": query}]
    return client.chat.completions.create(model="listed", messages=messages, **options)


def test_a_chat_has_a_line_per_query(client: OpenAI) -> None:
    """All of them come from one decode, as the number of tokens shows."""
    ids = {case["request"]: case["ids"] for case in golden("lists")["cases"]}
    for query, expected in ((listed.TESLA, EXPECTED), (NORWAY, COUNTRIES)):
        answer = chat(client, query)
        assert answer.choices[0].message.content.split("\n") == expected
        assert answer.usage.completion_tokens == len(ids[query]) - 1  # </s>
        chunks = [
            choice.delta.content or ""
            for chunk in chat(client, query, stream=True)
            for choice in chunk.choices
        ]
        assert [chunk.strip() for chunk in chunks if chunk] == expected
        assert "".join(chunks).split("\n") == expected


def test_a_chat_bounds_the_list(client: OpenAI) -> None:
    """By the schema's number; several choices share the queries of several lists."""
    schema = {"properties": {"queries": {"type": "array", "maxItems": 3}}, "type": "object"}
    form = {"type": "json_schema", "json_schema": {"name": "q", "schema": schema}}
    answer = chat(client, NORWAY, response_format=form)
    assert json.loads(answer.choices[0].message.content)["queries"] == COUNTRIES[:3]
    contents = [choice.message.content.split("\n") for choice in chat(client, NORWAY, n=2).choices]
    assert [content[:2] for content in contents] == [COUNTRIES[::2], COUNTRIES[1::2]]
    assert chat(client, "nothing at all").choices[0].message.content == "nothing at all"


def test_langchain(given: dict[str, Any]) -> None:
    """MultiQueryRetriever looks up each query of the list."""
    from langchain_classic.retrievers.multi_query import MultiQueryRetriever
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_openai import ChatOpenAI

    class Toy(BaseRetriever):
        """Finds what it is asked for."""

        def _get_relevant_documents(
            self, query: str, *, run_manager: CallbackManagerForRetrieverRun
        ) -> list[Document]:
            del run_manager
            return [Document(page_content=query)]

    retriever = MultiQueryRetriever.from_llm(Toy(), ChatOpenAI(temperature=0, **given))
    assert {one.page_content for one in retriever.invoke(listed.TESLA)} == {*EXPECTED}


def test_haystack(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """QueryExpander returns the queries of the list."""
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.components.query import QueryExpander
    from haystack.utils import Secret

    generator = OpenAIChatGenerator(
        api_key=Secret.from_token("none"), model="listed", api_base_url=url
    )
    expander = QueryExpander(chat_generator=generator, n_expansions=4, include_original_query=False)
    assert expander.run(query=listed.TESLA)["queries"] == EXPECTED
    expander.close()


def test_llama_index(url: str, given: dict[str, Any]) -> None:
    """QueryFusionRetriever looks up each query of the list beside the original."""
    from llama_index.core.retrievers import BaseRetriever, QueryFusionRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
    from llama_index.llms.openai_like import OpenAILike  # type: ignore[import-untyped]

    class Toy(BaseRetriever):
        """Finds what it is asked for."""

        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            return [NodeWithScore(node=TextNode(text=query_bundle.query_str), score=1.0)]

    model = OpenAILike(
        api_base=url,
        api_key="none",
        model="listed",
        http_client=given["http_client"],
        is_chat_model=True,
    )
    retriever = QueryFusionRetriever(
        [Toy()], model, num_queries=4, similarity_top_k=9, use_async=False
    )
    found = {node.text for node in retriever.retrieve(listed.TESLA)}
    assert found == {listed.TESLA, *EXPECTED}


def t5serve(list_file: Path, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "t5serve", "reformulate", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**environ, "T5SERVE_MODEL": str(list_file), "T5SERVE_TIMEOUT_MS": "60000"},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_command_line_shows_answers_of_several_queries(list_file: Path) -> None:
    """A line per query, and a blank line between the answers; `-n` bounds the list."""
    assert t5serve(list_file, listed.TESLA, NORWAY) == "\n".join([*EXPECTED, "", *COUNTRIES, ""])
    assert t5serve(list_file, "-n", "1", NORWAY) == f"{COUNTRIES[0]}\n"


def test_the_command_line_tells_whose_each_query_is(list_file: Path) -> None:
    """Other formats have the id and rank, or the whole result."""
    rows = [row.split("\t") for row in t5serve(list_file, "--to", "tsv", NORWAY).splitlines()]
    assert [row[:3] for row in rows] == [
        ["1", str(rank), text] for rank, text in enumerate(COUNTRIES, 1)
    ]
    assert len({row[3] for row in rows}) == 1
    result = json.loads(t5serve(list_file, "--to", "jsonl", NORWAY))
    assert result["queries"] == COUNTRIES


def test_the_example_of_the_documentation(list_server: Server) -> None:
    """The request of docs/api.md gives the answer and the events that stand there."""
    section = DOCS.read_text(encoding="utf-8").split("## Lists of queries\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)
    request, answer = (json.loads(text) for language, text in blocks if language == "json")
    (events,) = (text for language, text in blocks if language == "text" if "event: " in text)
    with list_server.client() as http:
        found = http.post("/v1/reformulate", json=request).json()
        streamed = http.post("/v1/reformulate", json={**request, "stream": True}).text
    assert (request, answer) == (LIST_REQUEST, LIST_ANSWER)  # of the API's description
    assert found.keys() == answer.keys()
    assert round_scores(found["results"]) == round_scores(answer["results"])
    assert found["usage"] == answer["usage"]
    assert found["timings_ms"].keys() == answer["timings_ms"].keys()
    assert streamed.startswith(events.strip())


def round_scores(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rounds what differs a little between machines."""
    scores = ("score", "model_score")
    rounded = [
        {**one, **{name: round(one[name], 2) for name in scores}}
        for one in results[0]["reformulations"]
    ]
    return [{**results[0], "reformulations": rounded}]
