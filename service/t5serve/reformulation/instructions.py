"""Instructions to a chat model, and the query that they are about.

Query expanders wrap the query in a text that tells a chat model what to do. A T5 wants the query
alone. Known wrappings are LangChain's MultiQueryRetriever (langchain_classic/retrievers/
multi_query.py, 1.0), LlamaIndex's QueryFusionRetriever (llama_index/core/retrievers/
fusion_retriever.py, 0.14) and Haystack's QueryExpander (haystack/components/query/
query_expander.py, 3.4); each says how many queries it wants, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from t5serve.reformulation.text import clean

PLACE = "{query}"


@dataclass(frozen=True)
class Instruction:
    """What a message asks for: `count` queries, None if it does not say; as JSON or lines."""

    query: str
    count: int | None = None
    as_json: bool = False


@dataclass(frozen=True, kw_only=True)
class Wrapping:
    """A known instruction, by what it says of the number and what stands around the query."""

    number: re.Pattern[str]
    before: str
    after: str = ""
    as_json: bool = False


KNOWN = (
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


def read_instruction(message: str, template: str = "") -> Instruction:
    """The query in a message: all of it, unless it is wrapped in the template or a known way.

    Args:
        message: the last one of the user's.
        template: with {query} in it; runs of blanks in it match any others.
    """
    text = clean(message)
    if template:
        before, _, after = template.partition(PLACE)
        return Instruction(_between(text, clean(before), clean(after)) or message)
    for known in KNOWN:
        number = known.number.search(text)
        query = _between(text[number.end() :], known.before, known.after) if number else None
        if number and query:
            return Instruction(query, max(1, int(number[1])), known.as_json)
    return Instruction(message)


def _between(text: str, before: str, after: str) -> str | None:
    """What stands after the first of the one and before the last of the other."""
    _, found, rest = text.partition(before) if before else ("", "", text)
    if before and not found:
        return None
    query, found, _ = rest.rpartition(after) if after else (rest, "", "")
    return None if after and not found else query.strip()
