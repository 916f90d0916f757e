"""Write the relevance that transformers computes for a thousand pairs of query and document.

Run by hand in the environment of make.py:

    .venv-golden/bin/python tests/golden/rerank.py

It writes rerank.json: by pair of `support.reranked.list_pairs`, the softmax over the logits of both
tokens at the first step, for the positive one, as monoT5 does.
"""

import logging
import sys
import tempfile
from pathlib import Path

import torch
from transformers import T5Tokenizer

sys.path.insert(0, str(Path(__file__).parents[2] / "gguf"))
sys.path.insert(0, str(Path(__file__).parents[2] / "service"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from reference import PAD, UNK, load, write

from support import reranked


def main() -> None:
    """Write the file beside this one."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_grad_enabled(mode=False)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        directory = reranked.build(Path(name))
        tokenizer = T5Tokenizer(str(directory / "spiece.model"), extra_ids=0, legacy=True)
        model = load(directory)
    tokens = tokenizer.convert_tokens_to_ids([reranked.POSITIVE, reranked.NEGATIVE])
    assert UNK not in tokens
    scores = []
    for query, document in reranked.list_pairs():
        text = reranked.TEMPLATE.format(query=query, document=document)
        output = model(
            **tokenizer(text, return_tensors="pt"), decoder_input_ids=torch.tensor([[PAD]])
        )
        scores.append(round(output.logits[0, 0, tokens].softmax(-1)[0].item(), 7))
    write("rerank.json", {"tokens": tokens, "scores": scores})


if __name__ == "__main__":
    main()
