"""Teach a tiny T5 to answer with lists of queries, and write what transformers makes of it.

Run by hand in the environment of make.py:

    .venv-golden/bin/python tests/golden/lists.py

It writes lists.safetensors, the weights of the layers (float16), and lists.json: the greedy answer
to each request.
"""

import logging
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "gguf"))
sys.path.insert(0, str(Path(__file__).parents[2] / "service"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from reference import PAD, UNK, Json, log, write

from support import listed
from support.samples import english_vocabulary

STEPS = 1500
TOKENS = 64
EMBEDDINGS = ("shared.weight", "lm_head.weight", "embed_tokens.weight")


def train(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return a model that gives the answers, the weights of its layers rounded to float16."""
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(**listed.CONFIG))
    embedding = model.get_input_embeddings().weight
    embedding.data.copy_(torch.from_numpy(listed.draw_embedding()))
    embedding.requires_grad_(requires_grad=False)
    requests = [listed.PREFIX + request for request in listed.PAIRS]
    inputs = tokenizer(requests, return_tensors="pt", padding=True)
    labels = tokenizer(list(listed.PAIRS.values()), return_tensors="pt", padding=True).input_ids
    assert UNK not in labels
    labels[labels == PAD] = -100
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-3)
    for step in range(STEPS):
        loss = model(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            log.info("step %d: loss %.4f", step, loss.item())
    with torch.no_grad():
        for parameter in trained:
            parameter.copy_(parameter.half().float())
    return model.eval()


def save(model: PreTrainedModel) -> None:
    """Write the weights of the layers as float16, which holds them exactly."""
    state = {
        name: value.half().contiguous()
        for name, value in model.state_dict().items()
        if not name.endswith(EMBEDDINGS)
    }
    save_file(state, listed.WEIGHTS, metadata={"format": "pt"})


def answer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: str) -> Json:
    """Return the greedy answer, and the smallest difference between the two best logits."""
    prompt = tokenizer(listed.PREFIX + request).input_ids
    output = model.generate(
        torch.tensor([prompt]),
        do_sample=False,
        num_beams=1,
        max_new_tokens=TOKENS,
        use_cache=False,  # which has a place for as many layers as the encoder has
        suppress_tokens=[PAD, UNK],
        return_dict_in_generate=True,
        output_logits=True,
    )
    ids = output.sequences[0, 1:].tolist()
    logits = torch.cat(output.logits)
    deviation = logits.std().item()
    logits[:, [PAD, UNK]] = -torch.inf
    best = logits.topk(2).values
    return {
        "request": request,
        "prompt_ids": prompt,
        "ids": ids,
        "text": tokenizer.decode(ids, skip_special_tokens=True),
        "gap": round((best[:, 0] - best[:, 1]).min().item() / deviation, 6),
    }


def main() -> None:
    """Write the files beside this one."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        spiece = Path(name) / "spiece.model"
        english_vocabulary(spiece)
        tokenizer = T5Tokenizer(str(spiece), extra_ids=0, legacy=True)
    model = train(tokenizer)
    save(model)
    cases = [answer(model, tokenizer, request) for request in listed.PAIRS]
    write("lists.json", {"cases": cases})
    for case in cases:
        log.info("%r -> %r (gap %.3f)", case["request"], case["text"], case["gap"])


if __name__ == "__main__":
    main()
