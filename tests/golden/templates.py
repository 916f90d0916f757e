"""Write what transformers answers to conversations and documents.

Run by hand in the environment of make.py:

    .venv-golden/bin/python tests/golden/templates.py

It writes templates.json: for each input of the tiny model of tests/support/conversing.py the ids of
its encoder and the greedy answer. The inputs are composed here by themselves, as the models' cards
describe them: the turns of castorini/t5-base-canard with ` ||| ` between them, a document of
doc2query as it is, cut by the tokenizer. Of a conversation that is too long the oldest turns are
dropped until the others fit.
"""

import logging
import sys
import tempfile
from pathlib import Path

import torch
from transformers import PreTrainedModel, T5Tokenizer

sys.path.insert(0, str(Path(__file__).parents[2] / "gguf"))
sys.path.insert(0, str(Path(__file__).parents[2] / "service"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from make import greedy
from reference import Json, load, log, write

from support import tiny
from support.conversing import FRANK_ZAPPA, JOIN, QUESTION, VOCABULARY, build

LIMIT = 512
LINES = tiny.QUERIES.read_text(encoding="utf-8").splitlines()
CONVERSATIONS = (
    ([], QUESTION),
    (FRANK_ZAPPA, QUESTION),
    (["how do i cook {history} rice"], "and {query}?"),
    (LINES[:12], LINES[13]),
    ([" ".join(LINES[start : start + 9]) for start in range(0, 180, 9)], "and the last one?"),
)
DOCUMENTS = (
    "The presence of communication amid scientific minds was as important as intellect.",
    "a {document} with braces, and one \n\n line more",
    " ".join(LINES[:90]),
    " ".join(LINES[:200]),
)


def encode_turns(tokenizer: T5Tokenizer, turns: list[str]) -> list[int]:
    """Return the ids of a conversation, without the oldest turns if they are too many."""
    ids: list[int] = tokenizer(JOIN.join(turns)).input_ids
    return ids if len(ids) <= LIMIT else encode_turns(tokenizer, turns[1:])


def answer(model: PreTrainedModel, tokenizer: T5Tokenizer, ids: list[int]) -> Json:
    """Return the greedy answer to an input."""
    output = greedy(model, ids, tokens=24, pieces=len(tokenizer))
    text = tokenizer.decode(output["ids"], skip_special_tokens=True)
    return {"prompt_ids": ids, "text": text, **output}


def main() -> None:
    """Write the file beside this one."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        directory = build(Path(name))
        tokenizer = T5Tokenizer(str(directory / "spiece.model"), extra_ids=0, legacy=True)
        model = load(directory)
    if len(tokenizer) != VOCABULARY:
        raise ValueError(len(tokenizer))
    conversations = []
    for history, query in CONVERSATIONS:
        ids = encode_turns(tokenizer, [*history, query])
        conversations.append({"history": history, "query": query, **answer(model, tokenizer, ids)})
    documents = []
    for document in DOCUMENTS:
        ids = tokenizer(document, max_length=LIMIT, truncation=True).input_ids
        documents.append({"document": document, **answer(model, tokenizer, ids)})
    write("templates.json", {"conversations": conversations, "documents": documents})
    for case in (*conversations, *documents):
        log.info("%d ids -> %r (gap %.3f)", len(case["prompt_ids"]), case["text"], case["gap"])


if __name__ == "__main__":
    main()
