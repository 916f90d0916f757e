"""Teach a tiny T5 answers with added tokens, and write what transformers makes of it.

Run by hand in the environment of make.py:

    .venv-golden/bin/python tests/golden/added_tokens.py

It writes added_tokens.safetensors, the weights (float16), and added_tokens.json: the ids that each
kind of tokenizer gives to texts, what it makes of ids, and the greedy answers to 500 prompts.
"""

import logging
import random
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "gguf"))
sys.path.insert(0, str(Path(__file__).parents[2] / "service"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from reference import EOS, PAD, UNK, Json, log, write

from support import taught

STEPS = 600
PROMPTS = 500
TOKENS = 24
TEXTS = (
    "a < b",
    "a<b",
    "a <= b<c",
    "<sep> how",
    "how <sep>",
    "red<hl>paris",
    "red <hl> paris",
    "<hl>red<hl> blue",
    "<extra_id_0>red",
    "red <extra_id_1> blue",
    "red\nblue",
    "red \n blue",
    "{",
    "{ }",
    "{{red}}",
    '{ "color": "red" }',
    "  two   cars ",
    "<",
    "< <= <",
    "x~y ^ z",
    *taught.PAIRS,
    *taught.PAIRS.values(),
)


def train(tokenizer: PreTrainedTokenizerBase, ids: int) -> PreTrainedModel:
    """Return a model that gives the five answers, its weights rounded to float16."""
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(**taught.CONFIG | {"vocab_size": ids}))
    inputs = tokenizer(list(taught.PAIRS), return_tensors="pt", padding=True)
    labels = tokenizer(list(taught.PAIRS.values()), return_tensors="pt", padding=True).input_ids
    labels[labels == PAD] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(STEPS):
        loss = model(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            log.info("step %d: loss %.4f", step, loss.item())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    return model.eval()


def save(model: PreTrainedModel) -> None:
    """Write the weights as float16, which holds them exactly."""
    names = [name for name in model.state_dict() if name not in COPIES]
    state = {name: model.state_dict()[name].half().contiguous() for name in names}
    save_file(state, taught.WEIGHTS, metadata={"format": "pt"})


COPIES = ("lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")


def open_tokenizer(kind: str, directory: Path) -> tuple[PreTrainedTokenizerBase, int]:
    """Write and load one kind of tokenizer; return it and the number of ids."""
    directory.mkdir()
    ids = taught.write_tokenizer(kind, directory)
    fast = kind in ("fast", "words")
    return AutoTokenizer.from_pretrained(directory, use_fast=fast), ids


def answer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, never: list[int]
) -> Json:
    """Return the greedy answer; `gap` is the smallest difference between the two best logits."""
    prompt = tokenizer(text).input_ids
    output = model.generate(
        torch.tensor([prompt]),
        do_sample=False,
        num_beams=1,
        max_new_tokens=TOKENS,
        suppress_tokens=never,
        return_dict_in_generate=True,
        output_logits=True,
    )
    ids = output.sequences[0, 1:].tolist()
    logits = torch.cat(output.logits)
    deviation = logits.std().item()
    logits[:, never] = -torch.inf
    best = logits.topk(2).values
    return {
        "prompt": text,
        "prompt_ids": prompt,
        "ids": ids,
        "text": tokenizer.decode(ids, skip_special_tokens=True),
        "gap": round((best[:, 0] - best[:, 1]).min().item() / deviation, 6),
    }


def draw_prompts() -> list[str]:
    """Draw prompts of words and added tokens, after the five that were taught."""
    random.seed(0)
    words = [*taught.WORDS, *(text for text, _ in taught.added())]
    drawn = [
        " ".join(random.choices(words, k=random.randint(1, 8)))
        for _ in range(PROMPTS - len(taught.PAIRS))
    ]
    return [*taught.PAIRS, *drawn]


def main() -> None:
    """Write the files beside this one."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        loaded = {kind: open_tokenizer(kind, Path(name) / kind) for kind in taught.KINDS}
    fast, ids = loaded["fast"]
    model = train(fast, ids)
    save(model)
    sentinels = fast.convert_tokens_to_ids([f"<extra_id_{n}>" for n in range(taught.SENTINELS)])
    never = [PAD, UNK, *sentinels]
    assert EOS not in never
    tokenizers = {}
    for kind, (tokenizer, _) in loaded.items():
        cases = []
        for text in TEXTS:
            encoded = tokenizer(text).input_ids
            decoded = tokenizer.decode(encoded, skip_special_tokens=True)
            cases.append({"text": text, "ids": encoded, "decoded": decoded})
        tokenizers[kind] = cases
    prompts = [answer(model, fast, text, never) for text in draw_prompts()]
    write("added_tokens.json", {"tokenizers": tokenizers, "prompts": prompts})
    for case in prompts[:5]:
        log.info("%r -> %r", case["prompt"], case["text"])


if __name__ == "__main__":
    main()
