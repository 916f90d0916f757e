"""Write what transformers answers with each form of checkpoint.

Run by hand in the environment of make.py:

    .venv-golden/bin/python tests/golden/checkpoint_forms.py

It writes checkpoint_forms.json, and with `--pickles` also pickles/ and pickles.json: weights as
PyTorch saves them, and tensors of every type and layout with their values.
"""

import argparse
import logging
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

sys.path.insert(0, str(Path(__file__).parents[2] / "gguf"))
sys.path.insert(0, str(Path(__file__).parents[2] / "service"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from reference import PAD, UNK, Json, load, log, write

from support import checkpoint_forms
from support.checkpoint_forms import FORMS, PICKLE_FORMS, PICKLES, Form

TOKENS = 12
# More than twice the largest error of the engine's logits.
SMALLEST_GAPS = {"F32": 5e-5, "Q4_0": 5e-3}  # the one in Q4_0 becomes F16


def write_pickles() -> None:
    """Write the same weights as PyTorch saves them, in float16."""
    with tempfile.TemporaryDirectory() as name:
        checkpoint_forms.write_unpickled(Path(name))
        weights = load_file(Path(name) / "model.safetensors")
    half = {key: value.half() for key, value in weights.items()}
    PICKLES.mkdir(exist_ok=True)
    for form in PICKLE_FORMS:
        state: Json = dict(half)
        if form == "parameters":
            state = {key: torch.nn.Parameter(value) for key, value in half.items()}
        if form == "buffers":
            state |= {"steps": torch.zeros(1, dtype=torch.int64), "mask": torch.ones(3).bool()}
        is_archive = form != "before_1_6"
        torch.save(state, PICKLES / f"{form}.bin", _use_new_zipfile_serialization=is_archive)
    tensors = list_layouts()
    for form, is_archive in (("layouts", True), ("layouts_before_1_6", False)):
        path = PICKLES / f"{form}.bin"
        torch.save(tensors, path, _use_new_zipfile_serialization=is_archive)
    described = {
        name: {"shape": [*tensor.shape], "values": tensor.float().tolist()}
        for name, tensor in tensors.items()
    }
    write("pickles.json", {"layouts": described})


def list_layouts() -> dict[str, torch.Tensor]:
    """Return tensors of every type, and views of one storage."""
    base = torch.arange(24.0).reshape(4, 6) / 8 - 1
    dtypes = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8")
    return {
        **{name: base[:2].to(getattr(torch, name)) for name in (*dtypes, "uint8", "bool")},
        "transposed": base.t(),
        "part": base[1:3, 2:5],
        "flat": base.reshape(24),
        "expanded": base[:1].expand(3, 6),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(3.5),
        "parameter": torch.nn.Parameter(base),
    }


def describe(form: Form, directory: Path) -> list[Json]:
    """Return what transformers makes of each prompt."""
    form.build(directory)
    is_fast = (directory / "tokenizer.json").is_file()
    tokenizer = AutoTokenizer.from_pretrained(directory, use_fast=is_fast)
    model = load(directory)
    return [answer(model, tokenizer, prompt, form) for prompt in form.prompts]


def answer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, form: Form
) -> Json:
    """Return the ids of a prompt and of its answer, and the answer's text."""
    never = find_never(tokenizer, model.config.vocab_size)
    ids = tokenizer(prompt).input_ids
    case: Json = {"prompt": prompt, "prompt_ids": ids}
    greedy = generate(model, ids, never, max_new_tokens=TOKENS, num_beams=1)
    case["ids"] = greedy.sequences[0, 1:].tolist()
    if form.uses_defaults:
        case["ids"] = generate(model, ids, never).sequences[0, 1:].tolist()
        if case["ids"] == greedy.sequences[0, 1:].tolist():
            raise ValueError(case)
    case["text"] = tokenizer.decode(case["ids"], skip_special_tokens=True)
    if not form.uses_defaults:
        logits = torch.cat(greedy.logits)
        deviation = logits.std().item()
        logits[:, never] = -torch.inf
        best = logits.topk(2).values
        case["gap"] = round((best[:, 0] - best[:, 1]).min().item() / deviation, 6)
        if case["gap"] < SMALLEST_GAPS[form.file_type]:
            raise ValueError(case)
    return case


def generate(model: PreTrainedModel, ids: list[int], never: list[int], **options: int) -> Any:
    """Return what transformers generates; without options, by the checkpoint's defaults."""
    return model.generate(
        torch.tensor([ids]),
        suppress_tokens=never,
        return_dict_in_generate=True,
        output_logits=True,
        **options,
    )


def find_never(tokenizer: PreTrainedTokenizerBase, rows: int) -> list[int]:
    """Return the ids that are never generated: padding, unknown, sentinels, unused rows."""
    known = range(min(len(tokenizer), rows))
    texts = [tokenizer.convert_ids_to_tokens(index) for index in known]
    sentinels = [index for index, text in enumerate(texts) if text.startswith("<extra_id_")]
    return [PAD, UNK, *sentinels, *range(len(known), rows)]


def clean_texts() -> list[tuple[str, str]]:
    """Return texts of what the clean-up looks for, and the texts cleaned up."""
    random_ = random.Random(0)
    pieces = (*" " * 6, *".?!,''", "n't", "'m", "'s", "'ve", "'re", "n", "m", "a")
    texts = ["".join(random_.choices(pieces, k=random_.randint(1, 16))) for _ in range(100)]
    return [(text, PreTrainedTokenizerBase.clean_up_tokenization(text)) for text in texts]


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description="Write the golden file.")
    parser.add_argument("--pickles", action="store_true", help="also write pickles/")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_grad_enabled(mode=False)
    torch.set_num_threads(1)
    if options.pickles:
        write_pickles()
    forms = {}
    with tempfile.TemporaryDirectory() as root:
        for name, form in FORMS.items():
            forms[name] = describe(form, Path(root) / name)
            for case in forms[name]:
                log.info("%s: %r -> %r", name, case["prompt"], case["text"])
    write("checkpoint_forms.json", {"forms": forms, "cleaned": clean_texts()})


if __name__ == "__main__":
    main()
