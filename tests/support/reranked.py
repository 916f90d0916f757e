"""A tiny random T5 that reranks, in the included vocabulary, and the pairs that it judges.

Weights come from `np.random.RandomState`, whose stream NumPy has frozen. What the decoder takes
from the input is enlarged, so that the relevance of documents differs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from support import tiny
from support.samples import english_vocabulary, write_json

TEMPLATE = "Query: {query} Document: {document} Relevant:"
POSITIVE, NEGATIVE = "\u2581true", "\u2581false"
TOKEN_IDS = (483, 6552)  # of both, in the included vocabulary
QUERIES = 10
PAIRS_PER_QUERY = 100
CONFIG: dict[str, object] = tiny.FLAVOURS["tied_relu"] | {
    "vocab_size": 8000,
    "d_model": 128,
    "d_ff": 256,
    "d_kv": 64,
    "num_heads": 2,
    "tie_word_embeddings": False,
}
CROSS_FACTOR = 30.0  # of what the decoder takes from the input


def build(directory: Path) -> Path:
    """Writes the checkpoint into a directory, and returns it."""
    drawn = tiny.draw(CONFIG, np.random.RandomState(7))
    for name in drawn:
        if name.endswith("EncDecAttention.o.weight"):
            drawn[name] *= CROSS_FACTOR
    directory.mkdir(parents=True, exist_ok=True)
    english_vocabulary(directory / "spiece.model")
    write_json(directory / "config.json", CONFIG)
    save_file(drawn, directory / "model.safetensors")
    return directory


def list_pairs() -> list[tuple[str, str]]:
    """Returns a thousand pairs of a query and a document of 4 to 100 words."""
    lines = tiny.QUERIES.read_text(encoding="utf-8").splitlines()
    words = sorted({word for line in lines for word in line.split()})
    random = np.random.RandomState(1)
    pairs = []
    for query in lines[:QUERIES]:
        for _ in range(PAIRS_PER_QUERY):
            count = random.randint(4, 101)
            chosen = random.randint(0, len(words), count)
            pairs.append((query, " ".join(words[index] for index in chosen)))
    return pairs
