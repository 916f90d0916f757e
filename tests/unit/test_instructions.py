"""Queries in the instructions that query expanders send to chat models."""

from __future__ import annotations

import pytest

from t5serve.reformulation.instructions import Instruction, read_instruction

# As the clients have them: langchain-classic 1.0.8, llama-index-core 0.14.25, haystack-ai 3.4.0.
LANGCHAIN = """You are an AI language model assistant. Your task is
    to generate {count} different versions of the given user
    question to retrieve relevant documents from a vector  database.
    By generating multiple perspectives on the user question,
    your goal is to help the user overcome some of the limitations
    of distance-based similarity search. Provide these alternative
    questions separated by newlines. Original question: {query}"""
LLAMA_INDEX = (
    "You are a helpful assistant that generates multiple search queries based on a "
    "single input query. Generate {count} search queries, one on each line, "
    "related to the following input query:\n"
    "Query: {query}\n"
    "Queries:\n"
)
HAYSTACK = """
You are part of an information system that processes user queries for retrieval.
You have to expand a given query into {count} queries that are
semantically similar to improve retrieval recall.

Structure:
Follow the structure shown below in examples to generate expanded queries.
These examples show the output when 3 queries are requested.

Examples:
1.  Query: "climate change effects"
    {"queries": ["impact of climate change", "consequences of global warming"]}

2.  Query: "machine learning algorithms"
    {"queries": ["neural networks", "clustering techniques", "supervised learning methods"]}

Guidelines:
- Generate queries that use different words and phrasings
- Respond in the same language as the input query

Your Task:
Query: "{query}"

You *must* respond with a JSON object containing a "queries" array with exactly {count} expanded \
queries."""
CONVERSATIONS = {
    "langchain": """Given the following conversation and a follow up question, rephrase the follow \
up question to be a standalone question, in its original language.

Chat History:
{history}
Follow Up Input: {query}
Standalone question:""",
    "condense_question": """Given a conversation (between Human and Assistant) and a follow up \
message from Human, rewrite the message to be a standalone question that captures all relevant \
context from the conversation.

<Chat History>
{history}

<Follow Up Message>
{query}

<Standalone question>
""",
    "condense_plus_context": """
  Given the following conversation between a user and an AI assistant and a follow up question \
from user,
  rephrase the follow up question to be a standalone question.

  Chat History:
  {history}
  Follow Up Input: {query}
  Standalone question:""",
}
KNOWN = {"langchain": LANGCHAIN, "llama_index": LLAMA_INDEX, "haystack": HAYSTACK}
MEGABYTE = 1_000_000


def wrap(wrapping: str, query: str, count: int = 3) -> str:
    return KNOWN[wrapping].replace("{count}", str(count)).replace("{query}", query)


@pytest.mark.parametrize("count", [1, 4, 12])
@pytest.mark.parametrize("wrapping", KNOWN)
@pytest.mark.parametrize(
    "query",
    [
        "how do i learn python",
        'what does "Query:" mean',
        "Original question: what is it",
        "Queries: and\nQuery: again",
        "\u4f60\u597d \U0001f642",
        'say "hello"',
    ],
)
def test_known_wrappings(wrapping: str, query: str, count: int) -> None:
    """The query, the count and the format are read, whatever the query contains."""
    instruction = read_instruction(wrap(wrapping, query, count))
    assert instruction == Instruction(" ".join(query.split()), count, wrapping == "haystack")


@pytest.mark.parametrize(
    "message",
    [
        "how do i learn python",
        "Query: a",
        "Original question: a",
        "  blanks\n stay ",
        "generate 3 different versions of this joke",
        wrap("langchain", ""),
        wrap("llama_index", " "),
    ],
)
def test_anything_else_is_the_query(message: str) -> None:
    """Other messages are the query, unchanged."""
    assert read_instruction(message) == Instruction(message)


def test_none_is_one() -> None:
    """A count of 0 becomes 1, because no answer is empty."""
    assert read_instruction(wrap("llama_index", "a", 0)).count == 1


@pytest.mark.parametrize(
    ("template", "message", "query"),
    [
        ("Rewrite: {query}", "Rewrite:   red  shoes ", "red shoes"),
        ("Rewrite this:\n{query}\n--", "Rewrite this: red shoes --", "red shoes"),
        ("{query} (rewrite)", "red shoes (rewrite)", "red shoes"),
        ("Q: {query} A:", "Q: what is A: here A:", "what is A: here"),
        ("Q: {query} A:", "something else", "something else"),
        ("Q: {query} A:", "Q:  A:", "Q:  A:"),
        ("{query}", "red shoes", "red shoes"),
    ],
)
def test_a_template_of_one_s_own(template: str, message: str, query: str) -> None:
    """Blanks match any blanks; a message that does not match is the query."""
    assert read_instruction(message, template) == Instruction(query)


def test_a_template_replaces_the_known() -> None:
    """The known wrappings are not used beside a template."""
    message = wrap("langchain", "a")
    assert read_instruction(message, "Q: {query}") == Instruction(message)


@pytest.mark.parametrize(
    "message",
    [
        "to generate " * (MEGABYTE // 12),
        "to generate 3 different versions of" * (MEGABYTE // 35),
        "Generate 3 search queries, one on each line" + "Query:" * (MEGABYTE // 6),
        'expand a given query into 3 queries Your Task: Query: "' * (MEGABYTE // 55),
        "1" * MEGABYTE,
        " " * MEGABYTE + "a",
        "\n" * MEGABYTE,
    ],
)
def test_long_texts(message: str) -> None:
    """A megabyte that resembles an instruction is read in linear time."""
    assert read_instruction(message).query
    assert read_instruction(message, "to {query} Query:").query


def converse(name: str, history: str, query: str) -> str:
    return CONVERSATIONS[name].replace("{history}", history).replace("{query}", query)


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize(
    ("history", "turns"),
    [
        ("Human: what is t5?\nAI: a model\nof Google", ("what is t5?", "a model of Google")),
        ("user: a: b\nassistant: Follow Up Input: no", ("a: b", "Follow Up Input: no")),
        ("\nHuman: a\nAssistant: b", ("a", "b")),
        ("system: be nice\nuser: a\ntool: 5\nassistant: ", ("a",)),
        ("what was said", ("what was said",)),
        ("<Chat History>", ("<Chat History>",)),
        ("", ()),
    ],
)
def test_conversations_in_a_message(name: str, history: str, turns: tuple[str, ...]) -> None:
    """The turns of people and assistants, and the last question; one query is wanted."""
    for query in ("and when?", "what is {history}", 'say "hello"'):
        instruction = read_instruction(converse(name, history, query))
        assert instruction == Instruction(query, count=1, history=turns)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_what_only_looks_like_a_conversation(name: str) -> None:
    """Without a question, or with more behind it, the message is the query."""
    for message in (
        converse(name, "user: a", " "),
        converse(name, "user: a", "b") + " please",
        converse(name, "user: a", "b").partition("user:")[2],
    ):
        assert read_instruction(message) == Instruction(message)


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("part", ["user: ", "Chat History:", "\n", "Follow Up Input: a", " "])
def test_long_conversations(name: str, part: str) -> None:
    """A megabyte is read in linear time."""
    assert read_instruction(converse(name, part * (MEGABYTE // len(part)), "a")).query == "a"
