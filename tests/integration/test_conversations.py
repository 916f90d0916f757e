"""Follow-up questions, by a tiny random model: what it is given is what the turns make together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from support.conversing import FRANK_ZAPPA, QUESTION
from support.conversions import CONVERSING_TASKS, convert_conversing
from support.parity import golden, with_model
from support.reformulate_client import concatenate_tokens, events_of, select_events
from support.serving import Server, start, stop
from t5engine.decoding.parameters import GenerationConfig
from t5engine.pool.engine import Engine
from t5serve.api import Reformulator
from t5serve.client.client import Client
from t5serve.errors import InvalidRequest
from t5serve.reformulation.text import clean

GOLDEN = golden("templates")
CANARD = " ||| ".join([*FRANK_ZAPPA, QUESTION])
SPEAKERS = ("user", "assistant", "user", "assistant")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert_conversing(tmp_path_factory.mktemp("conversing"))


@pytest.fixture(scope="module")
def server(file: Path) -> Iterator[Server]:
    running = start(model=str(file), timeout_ms="60000", cache_bytes="1000000")
    running.wait_until_ready()
    yield running
    stop(running)


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def complete(http: httpx.Client, prompt: str) -> tuple[str, int]:
    """Returns the greedy answer to a raw input, and the number of the input's tokens."""
    body = {"model": "conversing", "prompt": prompt, "temperature": 0, "max_tokens": 24}
    response = http.post("/v1/completions", json=body).json()
    return clean(response["choices"][0]["text"]), response["usage"]["prompt_tokens"]


def ask(http: httpx.Client, **body: object) -> dict[str, Any]:
    response = http.post("/v1/reformulate", json={"task": "standalone", "query": QUESTION, **body})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_the_engine_answers_as_transformers(file: Path) -> None:
    """Token for token, over turns and documents, whole ones and those that are cut."""
    config = GenerationConfig(max_tokens=24)
    cases = [
        *(("standalone", case["query"], case["history"], case) for case in GOLDEN["conversations"]),
        *(("doc2query", case["document"], [], case) for case in GOLDEN["documents"]),
    ]
    assert sum(len(case["prompt_ids"]) > 430 for *_, case in cases) == 3  # the cut ones

    async def use(engine: Engine) -> None:
        for name, query, history, case in cases:
            text, cut = CONVERSING_TASKS[name].fill(query, history)
            result = await engine.generate(config, text=text, cut=cut, timeout=60)
            assert result.generated.prompt_tokens == len(case["prompt_ids"])
            (output,) = result.generated.outputs
            has_end = output.finish_reason == "stop"
            assert [*output.tokens, *[1] * has_end] == case["ids"]

    with_model(file, use)


def test_turns_and_the_query_are_one_input(http: httpx.Client) -> None:
    """The answer is that of the rendered template, and a first turn has no join."""
    answer = ask(http, history=FRANK_ZAPPA)
    text, tokens = complete(http, CANARD)
    assert answer["results"][0]["queries"] == [text]
    assert answer["usage"]["prompt_tokens"] == tokens
    first = ask(http, history=[])
    assert (first["results"][0]["queries"], first["usage"]["prompt_tokens"]) == (
        [complete(http, QUESTION)[0]],
        complete(http, QUESTION)[1],
    )


def test_old_turns_are_left_out(http: httpx.Client) -> None:
    """Whole ones, as few as need be; a turn that is too long by itself loses its beginning."""
    turns = [f"{name} " + "the cold winter " * 100 for name in ("one", "two", "three", "four")]
    kept = " ||| ".join([*turns[-1:], QUESTION])
    text, tokens = complete(http, kept)
    assert tokens < 512 < tokens + 300  # two turns are too many
    answer = ask(http, history=turns)
    assert (answer["results"][0]["queries"], answer["usage"]["prompt_tokens"]) == ([text], tokens)
    long = ask(http, history=["in paris " * 5000])
    assert 511 <= long["usage"]["prompt_tokens"] <= 512
    megabyte = ask(http, history=["in paris " * 2000] * 20)
    assert 511 <= megabyte["usage"]["prompt_tokens"] <= 512


def test_a_task_that_cuts_nothing_refuses(http: httpx.Client) -> None:
    """Too long a conversation is an error that names the field, as for a long query."""
    body = {"task": "refusing", "query": QUESTION, "history": ["in paris " * 300] * 2}
    response = http.post("/v1/reformulate", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
    text, _ = complete(http, f"a b\nc{QUESTION}")
    answer = ask(http, task="refusing", history=["a b", "c"])
    assert answer["results"][0]["queries"] == [text]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"task": "rewrite", "history": ["a"]}, "history has no place in this task"),
        ({"history": ["a"], "task": None}, "history has no place in this task"),
        ({"history": ["a"] * 21}, "history"),
        ({"history": [" "]}, "must not be blank"),
        ({"history": [1]}, "history"),
        ({"history": "a"}, "history"),
    ],
)
def test_histories_that_are_refused(
    http: httpx.Client, body: dict[str, object], message: str
) -> None:
    """With the reason, and the field at fault."""
    body = {"task": "standalone", "query": QUESTION, **body}
    response = http.post("/v1/reformulate", json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert message in error["message"]
    assert error["param"].startswith("history")


def test_a_stream_is_the_answer(http: httpx.Client) -> None:
    """With turns as without."""
    body = {"task": "standalone", "query": QUESTION, "history": FRANK_ZAPPA, "stream": True}
    with http.stream("POST", "/v1/reformulate", json=body) as response:
        events = list(events_of(response))
    (result,) = select_events(events, "result")
    assert result["queries"] == ask(http, history=FRANK_ZAPPA)["results"][0]["queries"]
    assert concatenate_tokens(events)[0, 1] == result["queries"][0]


def test_other_turns_are_another_result(http: httpx.Client) -> None:
    """The cache never mixes conversations that end with the same question."""
    first, again, other = (
        ask(http, history=["Zappa", turn])["results"][0] for turn in ("a band", "a band", "a dog")
    )
    assert (first["cached"], again["cached"], other["cached"]) == (False, True, False)
    assert first["queries"] == again["queries"] != other["queries"]


def test_python_and_the_client_take_turns(file: Path, server: Server) -> None:
    """In process, over HTTP and by the service itself the answer is the same."""
    options: Any = {"task": "standalone", "history": FRANK_ZAPPA}
    with Reformulator(file, threads=1) as embedded, Client(server.url) as client:
        (result,) = embedded.reformulate(QUESTION, **options)
        assert result.queries == client.reformulate(QUESTION, **options)[0].queries
        with pytest.raises(InvalidRequest, match="has no place"):
            embedded.reformulate(QUESTION, task="rewrite", history=["a"])
    case = GOLDEN["conversations"][1]
    assert result.queries == [clean(case["text"])]


def test_a_chat_s_earlier_turns(server: Server, http: httpx.Client) -> None:
    """Users' and assistants' messages count, no others; without any the default task answers."""
    with OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:

        def chat(*messages: tuple[str, str], **extra: Any) -> tuple[str, int]:
            answer = client.chat.completions.create(
                model="conversing",
                messages=[{"role": role, "content": text} for role, text in messages],  # type: ignore[misc]
                extra_body=extra,
            )
            assert answer.usage is not None
            return answer.choices[0].message.content or "", answer.usage.prompt_tokens

        turns = [*zip(SPEAKERS, FRANK_ZAPPA, strict=True), ("user", QUESTION)]
        assert chat(("system", "be nice"), *turns) == complete(http, CANARD)
        assert chat(*turns, task="rewrite")[1] == complete(http, f"rewrite: {QUESTION}")[1]
        assert chat(turns[-1])[1] == complete(http, f"rewrite: {QUESTION}")[1]
        assert chat(turns[-1], task="standalone") == complete(http, QUESTION)


def test_langchain_history_aware_retriever(server: Server, http: httpx.Client) -> None:
    """It looks up the standalone question, unmodified; a first question goes by the model."""
    from langchain_classic.chains import create_history_aware_retriever
    from langchain_classic.chains.conversational_retrieval.prompts import CONDENSE_QUESTION_PROMPT
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.messages import AIMessage, HumanMessage, get_buffer_string
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
    from langchain_core.retrievers import BaseRetriever
    from langchain_openai import ChatOpenAI

    class Toy(BaseRetriever):
        """Finds what it is asked for."""

        def _get_relevant_documents(
            self, query: str, *, run_manager: CallbackManagerForRetrieverRun
        ) -> list[Document]:
            del run_manager
            return [Document(page_content=query)]

    model = ChatOpenAI(base_url=f"{server.url}/v1", api_key="none", model="conversing")  # type: ignore[arg-type]
    prompt = ChatPromptTemplate.from_messages(
        [
            ("system", "Given a chat history and the latest user question, formulate one"),
            MessagesPlaceholder("chat_history"),
            ("human", "{input}"),
        ]
    )
    retriever = create_history_aware_retriever(model, Toy(), prompt)
    makers = (HumanMessage, AIMessage, HumanMessage, AIMessage)
    history = [make(turn) for make, turn in zip(makers, FRANK_ZAPPA, strict=True)]
    found = retriever.invoke({"input": QUESTION, "chat_history": history})
    assert [document.page_content for document in found] == [complete(http, CANARD)[0]]
    assert retriever.invoke({"input": QUESTION})[0].page_content == QUESTION
    # The prompt of ConversationalRetrievalChain, which writes the turns into one message.
    chain = CONDENSE_QUESTION_PROMPT | model | StrOutputParser()
    told = get_buffer_string(history)
    assert told.startswith("Human: Frank Zappa\nAI: Disbandment\n")
    assert chain.invoke({"chat_history": told, "question": QUESTION}) == complete(http, CANARD)[0]


def test_llama_index_condense_question_engine(server: Server, http: httpx.Client) -> None:
    """Both engines ask their index for the standalone question."""
    from llama_index.core.chat_engine import (
        CondensePlusContextChatEngine,
        CondenseQuestionChatEngine,
    )
    from llama_index.core.llms import ChatMessage
    from llama_index.core.memory import ChatMemoryBuffer
    from llama_index.core.query_engine import CustomQueryEngine
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
    from llama_index.llms.openai_like import OpenAILike  # type: ignore[import-untyped]

    asked: list[str] = []

    class ToyEngine(CustomQueryEngine):
        """Answers with the question."""

        def custom_query(self, query_str: str) -> str:
            asked.append(query_str)
            return query_str

    class ToyRetriever(BaseRetriever):
        """Finds what it is asked for."""

        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            asked.append(query_bundle.query_str)
            return [NodeWithScore(node=TextNode(text=query_bundle.query_str), score=1.0)]

    model = OpenAILike(
        is_chat_model=True, api_base=f"{server.url}/v1", api_key="none", model="conversing"
    )
    history = [
        ChatMessage(role=role, content=turn)
        for role, turn in zip(SPEAKERS, FRANK_ZAPPA, strict=True)
    ]

    def memory() -> ChatMemoryBuffer:  # the default one leaves connections to SQLite open
        return ChatMemoryBuffer.from_defaults(chat_history=list(history))

    engine = CondenseQuestionChatEngine.from_defaults(ToyEngine(), memory=memory(), llm=model)
    engine.chat(QUESTION)
    plus = CondensePlusContextChatEngine.from_defaults(ToyRetriever(), memory=memory(), llm=model)
    plus.chat(QUESTION)
    assert asked == [complete(http, CANARD)[0]] * 2


def test_the_command_line_takes_turns(file: Path) -> None:
    """`--history` has the turns of all queries of the call."""
    import subprocess
    import sys

    command = [sys.executable, "-m", "t5serve", "reformulate", "--model", str(file)]
    command += ["--task", "standalone", QUESTION, "--history", *FRANK_ZAPPA]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == clean(GOLDEN["conversations"][1]["text"])


def test_concurrent_conversations(file: Path) -> None:
    """Conversations of concurrent calls do not mix."""

    async def ask_all() -> None:
        from t5serve.api import AsyncReformulator

        async with AsyncReformulator(file, threads=1) as embedded:
            results = await asyncio.gather(
                *(
                    embedded.reformulate(QUESTION, task="standalone", history=turns)
                    for turns in ([], FRANK_ZAPPA, [])
                )
            )
        texts = [result.queries for (result,) in results]
        assert texts[0] == texts[2] == [clean(GOLDEN["conversations"][0]["text"])]
        assert texts[1] == [clean(GOLDEN["conversations"][1]["text"])]

    asyncio.run(ask_all())
