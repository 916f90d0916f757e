"""Finds the query in an instruction to a chat model.

Query expanders wrap the query in a text that tells a chat model what to do. A T5 model needs the
query alone. The known wrappings are LangChain's MultiQueryRetriever (langchain_classic/retrievers/
multi_query.py, 1.0), LlamaIndex's QueryFusionRetriever (llama_index/core/retrievers/
fusion_retriever.py, 0.14) and Haystack's QueryExpander (haystack/components/query/
query_expander.py, 3.4). Each wrapping also names the number of queries.

Other instructions contain a conversation, and ask for its last question in a form that stands by
itself: LangChain's ConversationalRetrievalChain (langchain_classic/chains/conversational_retrieval/
prompts.py, 1.0), LlamaIndex's CondenseQuestionChatEngine and CondensePlusContextChatEngine
(llama_index/core/chat_engine/, 0.14).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from t5serve.reformulation.text import clean

PLACEHOLDER = "{query}"


@dataclass(frozen=True)
class Instruction:
    """The content of a chat message.

    Attributes:
        query: the query to reformulate.
        count: the number of queries to answer; None if the message does not name a number.
        as_json: whether the answer is JSON; else one query per line.
        history: the earlier turns of a conversation that the message has, oldest first.
    """

    query: str
    count: int | None = None
    as_json: bool = False
    history: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Wrapping:
    """A known instruction.

    Attributes:
        number: the phrase that names the number of queries; group 1 is the number.
        before: the text that precedes the query.
        after: the text that follows the query; "": the query ends the message.
        as_json: whether the client expects JSON.
    """

    number: re.Pattern[str]
    before: str
    after: str = ""
    as_json: bool = False


KNOWN_WRAPPINGS = (
    Wrapping(
        number=re.compile(r"to generate (\d{1,3}) different versions of"),
        before="Original question:",
    ),
    Wrapping(
        number=re.compile(r"Generate (\d{1,3}) search queries, one on each line"),
        before="Query:",
        after="Queries:",
    ),
    Wrapping(
        number=re.compile(r"expand a given query into (\d{1,3}) queries"),
        before='Your Task: Query: "',
        after='" You *must* respond with a JSON object',
        as_json=True,
    ),
)


@dataclass(frozen=True, kw_only=True)
class ConversationWrapping:
    """A known instruction around a conversation.

    Attributes:
        task: a phrase of the instruction, which precedes the conversation.
        history: the line above the earlier turns.
        question: the line above the last question, or its beginning.
        answer: the text that ends the message; its case does not matter.
    """

    task: str
    history: str
    question: str
    answer: str


KNOWN_CONVERSATIONS = (
    ConversationWrapping(
        task="rephrase the follow up question to be a standalone question",
        history="Chat History:",
        question="Follow Up Input:",
        answer="Standalone question:",
    ),
    ConversationWrapping(
        task="rewrite the message to be a standalone question",
        history="<Chat History>",
        question="<Follow Up Message>",
        answer="<Standalone question>",
    ),
)
SPEAKER = re.compile(
    r"^[ \t]*(human|user|ai|assistant|chatbot|system|developer|tool|function):[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
SPEAKERS_OF_TURNS = frozenset({"human", "user", "ai", "assistant", "chatbot"})


def read_instruction(message: str, template: str = "") -> Instruction:
    """Extracts the query from a message; a message that matches no wrapping is the query itself.

    Args:
        message: the last message of the user.
        template: a text with {query}, used instead of the known wrappings. A run of blanks
            matches any run of blanks.
    """
    text = clean(message)
    if template:
        before, _, after = template.partition(PLACEHOLDER)
        return Instruction(_between(text, clean(before), clean(after)) or message)
    for conversation in KNOWN_CONVERSATIONS:
        instruction = _read_conversation(message, conversation)
        if instruction is not None:
            return instruction
    for wrapping in KNOWN_WRAPPINGS:
        number = wrapping.number.search(text)
        if number is None:
            continue
        query = _between(text[number.end() :], wrapping.before, wrapping.after)
        if query:
            return Instruction(query, max(1, int(number[1])), wrapping.as_json)
    return Instruction(message)


def _read_conversation(message: str, wrapping: ConversationWrapping) -> Instruction | None:
    """Returns the last question of a conversation and the turns before; None without them."""
    task, has_history, text = message.partition(wrapping.history)
    text, end = text.rstrip(), len(wrapping.answer)
    if not has_history or text[-end:].casefold() != wrapping.answer.casefold():
        return None
    turns, has_question, question = text[:-end].rpartition(wrapping.question)
    query = clean(question)
    if not has_question or not query or wrapping.task not in clean(task):
        return None
    return Instruction(query, count=1, history=tuple(_split_turns(turns)))


def _split_turns(text: str) -> Iterator[str]:
    """Yields what people and assistants said; a text that names no speaker is one turn."""
    # Text and speaker in turn, a text first.
    parts = ["user", *SPEAKER.split(text)]
    for speaker, said in zip(parts[::2], parts[1::2], strict=True):
        turn = clean(said)
        if turn and speaker.casefold() in SPEAKERS_OF_TURNS:
            yield turn


def _between(text: str, before: str, after: str) -> str | None:
    """Returns the text between the first `before` and the last `after`; None without both."""
    if before:
        _, delimiter, text = text.partition(before)
        if not delimiter:
            return None
    if after:
        text, delimiter, _ = text.rpartition(after)
        if not delimiter:
            return None
    return text.strip()
