"""Clients that people have: the `openai` SDK's chat and models, and what is built on the SDK."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion

from support.serving import start, stop

pytestmark = pytest.mark.filterwarnings("default")  # the clients' own are not ours

QUERY = "what are the populations of iceland, greenland and norway"  # three searches
PROMPTS = [f"how do i cook {i} eggs for {i} people" for i in range(20)]
GREEDY: dict[str, Any] = {"model": "tiny-t5", "temperature": 0, "max_tokens": 64}
USER = {"role": "user", "content": QUERY}
SCHEMA = {
    "type": "object",
    "properties": {"queries": {"type": "array", "items": {"type": "string"}, "maxItems": 4}},
    "required": ["queries"],
    "additionalProperties": False,
}
JSON_SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "query_expansion", "strict": True, "schema": SCHEMA},
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    running = start(timeout_ms="60000", max_request_tokens="32768")
    running.wait_until_ready()
    yield f"{running.url}/v1"
    stop(running)
    gc.collect()  # what clients leave open is told here, where it is let through


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """For clients that would keep one of their own for good."""
    with httpx.Client(timeout=60) as one:
        yield one


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=url, api_key="none", max_retries=0) as one:
        yield one


def chat(client: OpenAI, **options: Any) -> ChatCompletion:
    answer = client.chat.completions.create(**{"model": "tiny-t5", "messages": [USER], **options})
    assert isinstance(answer, ChatCompletion)
    return answer


def contents(answer: ChatCompletion) -> list[str]:
    assert [choice.index for choice in answer.choices] == list(range(len(answer.choices)))
    assert {(one.message.role, one.finish_reason) for one in answer.choices} == {
        ("assistant", "stop")
    }
    return [choice.message.content or "" for choice in answer.choices]


def test_chat(client: OpenAI) -> None:
    """Three reformulations, one a line, all different and none the query."""
    answer = chat(client, temperature=0.7, top_p=0.9, user="somebody", store=False)
    (content,) = contents(answer)
    lines = content.split("\n")
    assert len(lines) == len(set(lines)) == 3
    assert QUERY not in lines
    assert all(line and line == line.strip() for line in lines)
    assert answer.usage is not None
    assert answer.usage.completion_tokens >= 10


def test_chat_choices_share_the_reformulations(client: OpenAI) -> None:
    """`n` choices have different lines."""
    shares = [content.split("\n") for content in contents(chat(client, n=3))]
    lines = [line for share in shares for line in share]
    assert len(shares) == 3
    assert len(set(lines)) == len(lines)
    assert all(contents(chat(client, n=16)))


@pytest.mark.parametrize(("form", "most"), [({"type": "json_object"}, 3), (JSON_SCHEMA, 4)])
def test_chat_as_json(client: OpenAI, form: dict[str, Any], most: int) -> None:
    """An object with `queries`, as many as the schema says."""
    (content,) = contents(chat(client, response_format=form))
    found = json.loads(content)
    assert found.keys() == {"queries"}
    assert 2 <= len(found["queries"]) <= most


@pytest.mark.parametrize("form", [{"type": "text"}, JSON_SCHEMA])
def test_a_chat_stream_adds_up(client: OpenAI, form: dict[str, Any]) -> None:
    """Each choice begins with its role, ends with its reason, and has the same text."""
    options: dict[str, Any] = {"model": "tiny-t5", "n": 2, "response_format": form}
    answer = chat(client, **options)
    options |= {"messages": [USER], "stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(**options))
    assert (chunks[-1].choices, chunks[-1].usage) == ([], answer.usage)
    for index, content in enumerate(contents(answer)):
        parts = [one for chunk in chunks for one in chunk.choices if one.index == index]
        assert parts[0].delta.role == "assistant"
        assert "".join(part.delta.content or "" for part in parts) == content
        assert [part.finish_reason for part in parts] == [None] * (len(parts) - 1) + ["stop"]


@pytest.mark.parametrize(
    ("options", "error", "param"),
    [
        ({"model": "gpt-4"}, openai.NotFoundError, "model"),
        ({"tools": [{"type": "function"}]}, openai.BadRequestError, "tools"),
        ({"logprobs": True}, openai.BadRequestError, "logprobs"),
        ({"messages": []}, openai.BadRequestError, "messages"),
        ({"messages": [{**USER, "content": " "}]}, openai.BadRequestError, "messages"),
        ({"messages": [{**USER, "content": "word " * 2000}]}, openai.BadRequestError, "messages"),
        ({"extra_body": {"task": "sing"}}, openai.BadRequestError, "task"),
        ({"n": 17, "stream": True}, openai.BadRequestError, "n"),
    ],
)
def test_chat_refusals(
    client: OpenAI, options: dict[str, Any], error: type[openai.APIStatusError], param: str
) -> None:
    """With the field at fault."""
    with pytest.raises(error) as raised:
        chat(client, **options)
    assert raised.value.param == param


def test_models(client: OpenAI) -> None:
    """One, by its name."""
    (model,) = client.models.list()
    assert (model.id, model.object) == ("tiny-t5", "model")
    assert client.models.retrieve("tiny-t5") == model
    with pytest.raises(openai.NotFoundError, match="there is no model 'a/b'"):
        client.models.retrieve("a/b")


@pytest.mark.parametrize(
    ("options", "error", "param"),
    [
        ({"model": "gpt-4"}, openai.NotFoundError, "model"),
        ({"suffix": "end"}, openai.BadRequestError, "suffix"),
        ({"temperature": 3}, openai.BadRequestError, "temperature"),
        ({"prompt": "word " * 2000}, openai.BadRequestError, None),
        ({"prompt": [16384]}, openai.BadRequestError, None),
        ({"prompt": [16384], "echo": True, "stream": True}, openai.BadRequestError, None),
        ({"logit_bias": {"16384": 1}}, openai.BadRequestError, None),
        ({"prompt": ["a"] * 33}, openai.BadRequestError, "prompt"),
        ({"prompt": ["a"] * 20, "n": 16, "max_tokens": 128}, openai.BadRequestError, "prompt"),
        ({"extra_body": {"no_such": 1}}, openai.BadRequestError, "no_such"),
    ],
)
def test_completion_refusals(
    client: OpenAI, options: dict[str, Any], error: type[openai.APIStatusError], param: str | None
) -> None:
    """The SDK's own class for each, with the field at fault; a stream's before it begins."""
    with pytest.raises(error) as raised:
        client.completions.create(**{"model": "tiny-t5", "prompt": "a", **options})
    assert raised.value.param == param
    assert raised.value.request_id


def test_asynchronously(url: str) -> None:
    """The SDK's other client: several at once, a stream, chat, models."""

    async def run() -> None:
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            asked = [client.completions.create(prompt=one, **GREEDY) for one in PROMPTS[:5]]
            answers = [answer.choices[0].text for answer in await asyncio.gather(*asked)]
            texts = [""] * 5
            stream = await client.completions.create(prompt=PROMPTS[:5], stream=True, **GREEDY)
            async for chunk in stream:
                for choice in chunk.choices:
                    texts[choice.index] += choice.text
            assert texts == answers
            messages: Any = [USER]
            answer = await client.chat.completions.create(model="tiny-t5", messages=messages)
            assert len(contents(answer)[0].split("\n")) == 3
            assert [model.id async for model in client.models.list()] == ["tiny-t5"]

    asyncio.run(run())


def test_langchain_completions(url: str, http: httpx.Client) -> None:
    """20 prompts, three each: one request, and its choices in their places."""
    from langchain_openai import OpenAI as LangChainOpenAI

    given: Any = {"base_url": url, "api_key": "none", "model": "tiny-t5", "http_client": http}
    given["seed"] = 1
    result = LangChainOpenAI(n=3, best_of=3, **given).generate(PROMPTS)
    assert [len(three) for three in result.generations] == [3] * 20
    alone = LangChainOpenAI(n=3, best_of=3, **given).generate(PROMPTS[7:8])
    assert [one.text for one in alone.generations[0]] == [one.text for one in result.generations[7]]
    assert result.llm_output is not None
    assert result.llm_output["token_usage"]["completion_tokens"] > 100
    streamed = "".join(LangChainOpenAI(**given | {"temperature": 0}).stream(QUERY))
    assert streamed == LangChainOpenAI(**given | {"temperature": 0}).invoke(QUERY)


def test_langchain_multi_query_retriever(url: str, http: httpx.Client) -> None:
    """The query is found in the instruction; three others come back, and each is looked up."""
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

    given: Any = {"base_url": url, "api_key": "none", "model": "tiny-t5", "http_client": http}
    retriever = MultiQueryRetriever.from_llm(Toy(), ChatOpenAI(temperature=0, **given))
    found = [document.page_content for document in retriever.invoke(QUERY)]
    assert len(found) == len(set(found)) == 3
    assert all("population" in text.lower() for text in found)


def test_haystack_query_expander(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many queries as it wants, by its instruction alone and by a schema."""
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.components.query import QueryExpander
    from haystack.utils import Secret

    for kwargs in ({}, {"response_format": JSON_SCHEMA}):
        generator = OpenAIChatGenerator(
            api_key=Secret.from_token("none"),
            model="tiny-t5",
            api_base_url=url,
            generation_kwargs=kwargs,
        )
        expander = QueryExpander(
            chat_generator=generator, n_expansions=4, include_original_query=False
        )
        found = expander.run(query=QUERY)["queries"]
        assert 3 <= len(found) == len(set(found)) <= 4
        assert all("population" in text.lower() for text in found)
        expander.close()


def test_llama_index_fusion_retriever(url: str, http: httpx.Client) -> None:
    """Its prompt's number less one, and each query is looked up beside the original."""
    from llama_index.core.retrievers import BaseRetriever, QueryFusionRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
    from llama_index.llms.openai_like import OpenAILike  # type: ignore[import-untyped]

    class Toy(BaseRetriever):
        """Finds what it is asked for."""

        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            return [NodeWithScore(node=TextNode(text=query_bundle.query_str), score=1.0)]

    given: Any = {"api_base": url, "api_key": "none", "model": "tiny-t5", "http_client": http}
    model = OpenAILike(is_chat_model=True, **given)
    retriever = QueryFusionRetriever(
        [Toy()], model, num_queries=4, similarity_top_k=9, use_async=False
    )
    found = [node.text for node in retriever.retrieve(QUERY)]
    assert QUERY in found
    assert len(found) == len(set(found)) == 4
    plain = OpenAILike(temperature=0, **given)
    query = "which is longer, the rhine or the danube"
    (result,) = http.post(f"{url}/reformulate", json={"query": query}).json()["results"]
    assert plain.complete(query).text == " ; ".join(result["queries"])
